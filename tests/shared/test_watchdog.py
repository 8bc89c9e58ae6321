"""A process that hangs is ended, one that starts, answers or is another program is not."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.config import exit_on_config_error
from shared.watchdog import Watch, answers, end, main, read_pid
from tests.validator.scripted_http import SeenRequest, response, scripted_server

PROGRAM = "a-program-of-this-test"


def test_a_process_that_stops_answering_is_ended_after_so_many_questions() -> None:
    watch = Watch(failures=3, start_s=100)
    assert not watch.hangs(1, True, 0)
    assert [watch.hangs(1, False, second) for second in (1, 2, 3)] == [False, False, True]


def test_one_answer_in_between_begins_anew() -> None:
    watch = Watch(failures=2, start_s=100)
    asked = [(True, 0), (False, 1), (True, 2), (False, 3)]
    assert not any(watch.hangs(1, answered, second) for answered, second in asked)


def test_a_process_that_starts_has_its_time_and_no_more() -> None:
    watch = Watch(failures=2, start_s=100)
    assert not any(watch.hangs(1, False, second) for second in range(0, 101, 10))
    assert watch.hangs(1, False, 101)


def test_a_new_process_begins_anew_and_none_is_not_ended() -> None:
    watch = Watch(failures=1, start_s=100)
    assert not watch.hangs(1, True, 0)
    assert watch.hangs(1, False, 1)
    assert not watch.hangs(None, False, 2)
    assert not watch.hangs(2, False, 3)


@given(st.lists(st.booleans(), max_size=50))
def test_a_process_that_never_misses_so_many_in_a_row_is_never_ended(history: list[bool]) -> None:
    watch = Watch(failures=3, start_s=1e9)
    missed = 0
    for second, answered in enumerate(history):
        missed = 0 if answered else missed + 1
        assert not (watch.hangs(1, answered, second) and missed < 3)


def test_another_program_with_the_process_id_is_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print(flush=True); input()", PROGRAM]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    file = tmp_path / "pid"
    file.write_text(f"{process.pid}\n")
    try:
        assert read_pid(file, PROGRAM) == process.pid
        assert read_pid(file, "another-program") is None
        (tmp_path / "gateway-7.pid").write_text(str(process.pid))
        (tmp_path / "gateway-8.pid").write_text("no number")
        assert read_pid(tmp_path / "gateway-*.pid", PROGRAM) == process.pid
    finally:
        process.communicate(b"\n")
    assert read_pid(file, PROGRAM) is None
    assert read_pid(tmp_path / "none", PROGRAM) is None


@pytest.mark.parametrize(("ignores", "by"), [(False, signal.SIGTERM), (True, signal.SIGKILL)])
async def test_a_process_is_asked_to_end_and_killed_if_it_does_not(ignores: bool, by: signal.Signals) -> None:
    handler = "SIG_IGN" if ignores else "SIG_DFL"
    code = f"import signal; signal.signal(signal.SIGTERM, signal.{handler}); print(flush=True); input()"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0.01)

    await end(process.pid, 5.0 if ignores else 1e6, lambda: process.returncode is None, sleep)
    assert await process.wait() == -by


@pytest.mark.parametrize("status", [200, 503])
async def test_any_answer_is_one_and_silence_is_none(status: int) -> None:
    async def script(request: SeenRequest, writer: asyncio.StreamWriter) -> None:
        if request.target == "/health":
            writer.write(response(status, b"{}"))
        else:
            await asyncio.Event().wait()

    async with scripted_server(script) as server, httpx.AsyncClient() as http:
        assert await answers(http, f"http://{server.axon}/health", 30)
        assert not await answers(http, f"http://{server.axon}/silence", 0.05)
        assert not await answers(http, "http://127.0.0.1:1/health", 30)


def test_a_process_that_is_not_named_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["watchdog", "--url", "http://127.0.0.1/health"])
    with pytest.raises(SystemExit) as ended:
        exit_on_config_error(main)
    assert ended.value.code == 2
    assert "--pid-file" in capsys.readouterr().err
