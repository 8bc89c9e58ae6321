"""Runs the endless tasks of a process until it is told to stop or one of them fails."""

import asyncio
import logging
import signal
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)


async def run_until(stop: asyncio.Event, tasks: Mapping[str, Coroutine[Any, Any, None]]) -> bool:
    """Run all tasks until `stop` is set or one of them ends, then cancel the others and wait for them.

    Returns whether `stop` was the reason. A task that ends by itself is a failure of the process: it is
    logged with its traceback, because a process that goes on without one of its parts looks healthy.
    """
    running = {asyncio.create_task(task, name=name) for name, task in tasks.items()}
    waiter = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait({*running, waiter}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in {*running, waiter}:
            task.cancel()
        await asyncio.gather(*running, waiter, return_exceptions=True)
    failed = done - {waiter}
    for task in failed:
        error = None if task.cancelled() else task.exception()
        log.critical("the task %r ended: %s", task.get_name(), error or "it returned", exc_info=error)
    return not failed


def stop_on_signals(stop: asyncio.Event) -> None:
    """SIGTERM and SIGINT set `stop`."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
