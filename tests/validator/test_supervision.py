import asyncio
import logging
import os
import signal

import pytest

from validator.supervision import run_until, stop_on_signals
from validator.troubles import Troubles


async def forever() -> None:
    await asyncio.Event().wait()


async def test_stopping_cancels_every_task_and_waits_for_it() -> None:
    stop, ended = asyncio.Event(), asyncio.Event()

    async def tidy() -> None:
        try:
            await forever()
        finally:
            ended.set()

    running = asyncio.create_task(run_until(stop, {"tidy": tidy(), "other": forever()}))
    await asyncio.sleep(0)
    stop.set()
    assert await running
    assert ended.is_set()


async def test_a_failing_task_ends_the_others_and_is_logged_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError("no such thing")

    assert not await run_until(asyncio.Event(), {"broken": broken(), "other": forever()})
    assert "the task 'broken' ended: no such thing" in caplog.text
    assert "Traceback" in caplog.text


async def test_a_task_that_returns_is_a_failure_too(caplog: pytest.LogCaptureFixture) -> None:
    async def too_short() -> None:
        return

    assert not await run_until(asyncio.Event(), {"too short": too_short(), "other": forever()})
    assert "'too short' ended: it returned" in caplog.text


async def test_a_signal_stops() -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await run_until(stop, {"other": forever()})


def test_a_trouble_is_logged_when_it_begins_changes_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    troubles = Troubles()
    for message in ("down", "down", "still down"):
        troubles.report("chain", message)
    assert troubles.all() == {"chain": "still down"}
    troubles.clear("chain")
    troubles.clear("chain")
    assert troubles.all() == {}
    assert [record.getMessage() for record in caplog.records] == [
        "chain: down",
        "chain: still down",
        "chain: well again",
    ]
