"""What systemd is told, over a real datagram socket, and when it is told nothing."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.service_notify import Notifier, heartbeat

PIDS = (100, 50)


class Systemd:
    """Listens as systemd does."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        """Everything since the last call."""
        states = []
        while True:
            try:
                states.append(self._socket.recv(1000).decode())
            except BlockingIOError:
                return states

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def address(tmp_path: Path) -> str:
    return str(tmp_path / "notify")


@pytest.fixture
def systemd(address: str) -> Iterator[Systemd]:
    listening = Systemd(address)
    yield listening
    listening.close()


def environment(address: str, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "9000000", **more}


class Process:
    """A process whose checks answer as told, and whose pauses are counted; then it rests."""

    def __init__(self, *answers: bool | OSError) -> None:
        self._answers, self.pauses = list(answers), [0.0]
        self.done = asyncio.Event()

    async def check(self) -> bool:
        if not self._answers:
            self.done.set()
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)


async def told(process: Process, notifier: Notifier, systemd: Systemd) -> list[str]:
    async with heartbeat(process.check, notifier, process.sleep):
        await process.done.wait()
    return systemd.heard()


async def test_ready_is_said_once_the_check_holds_and_life_while_it_does(
    systemd: Systemd, address: str
) -> None:
    process = Process(False, OSError("refused"), True, True, True)
    states = await told(process, Notifier(environment(address), PIDS), systemd)
    assert states == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
    assert process.pauses[-1] == 1.5


async def test_a_process_that_hangs_says_no_more_that_it_lives(
    systemd: Systemd, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    process = Process(True, True, False, False, OSError("no answer"))
    states = await told(process, Notifier(environment(address), PIDS), systemd)
    assert states == ["READY=1", "WATCHDOG=1", "STOPPING=1"]
    assert "systemd restarts it" in caplog.text


@pytest.mark.parametrize(("pid", "beats"), [("100", True), ("50", True), ("7", False)])
async def test_only_the_watched_process_and_its_workers_say_that_they_live(
    systemd: Systemd, address: str, pid: str, beats: bool
) -> None:
    notifier = Notifier(environment(address, WATCHDOG_PID=pid), PIDS)
    assert bool(notifier.watchdog_s) is beats
    async with heartbeat(Process(True, True, True).check, notifier, Process().sleep):
        while "READY=1" not in systemd.heard():
            await asyncio.sleep(0)


async def test_without_systemd_nothing_is_checked() -> None:
    async def never() -> bool:
        raise AssertionError

    async with heartbeat(never, Notifier({}, PIDS)):
        pass


def test_an_abstract_socket_is_reached(tmp_path: Path) -> None:
    listening = Systemd(f"\0{tmp_path}")
    Notifier(environment(f"@{tmp_path}"), PIDS).send("READY=1")
    assert listening.heard() == ["READY=1"]
    listening.close()


def test_a_socket_that_is_gone_ends_nothing(address: str, caplog: pytest.LogCaptureFixture) -> None:
    Notifier(environment(address), PIDS).send("READY=1")
    assert "systemd can't be told READY=1" in caplog.text


def test_a_socket_that_nobody_reads_holds_nothing_up(
    systemd: Systemd, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    notifier = Notifier(environment(address), PIDS)
    for _ in range(400):
        notifier.send("WATCHDOG=1")
    assert "systemd can't be told WATCHDOG=1" in caplog.text
    assert systemd.heard()
