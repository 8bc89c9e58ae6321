"""Tells systemd that a process serves, lives, and ends: its own protocol, datagrams to a socket it names.

systemd restarts a unit with `WatchdogSec=` whose process stops saying that it lives. It is said only after a
check that goes through what serving goes through, so that a process which hangs is restarted, too.
"""

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

log = logging.getLogger(__name__)

SOCKET_VARIABLE, WATCHDOG_VARIABLE, PID_VARIABLE = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"

BEATS_A_WATCHDOG = 6
"""A check that takes up to a quarter of the watchdog's time may fail once before systemd acts."""

READY_POLL_S = 0.5

Check = Callable[[], Awaitable[bool]]
"""Whether the process does its work; may take long. What it raises counts as no."""


class Notifier:
    """Sends states such as "READY=1"; does nothing where systemd did not start the process.

    Args:
        environ: what systemd sets.
        pids: this process and its parent: workers speak for the process that systemd started.
    """

    def __init__(self, environ: Mapping[str, str], pids: tuple[int, int]) -> None:
        self._address = environ.get(SOCKET_VARIABLE, "")
        watched = environ.get(PID_VARIABLE)
        mine = watched is None or watched in {str(pid) for pid in pids}
        self.watchdog_s = int(environ.get(WATCHDOG_VARIABLE, "0")) / 1e6 if mine else 0.0

    @property
    def wanted(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def send(self, state: str) -> None:
        """Send one state, without waiting; a socket that is gone or full is no reason to fail."""
        # An abstract socket is written with an @ for its leading zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.setblocking(False)
            try:
                sending.connect(address)
                sending.sendall(state.encode())
            except OSError as error:
                log.warning("systemd can't be told %s: %s", state, error)


def own_notifier() -> Notifier:
    """Of this process, from its environment."""
    return Notifier(os.environ, (os.getpid(), os.getppid()))


@asynccontextmanager
async def heartbeat(
    check: Check,
    notifier: Notifier | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncIterator[None]:
    """Tell systemd beside the block: READY once `check` holds, WATCHDOG while it does, then STOPPING."""
    notifier = notifier or own_notifier()
    if not notifier.wanted:
        yield
        return
    beating = asyncio.create_task(_beat(check, notifier, sleep), name="heartbeat")
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        notifier.send("STOPPING=1")


async def _beat(check: Check, notifier: Notifier, sleep: Callable[[float], Awaitable[None]]) -> None:
    while not await _holds(check):
        await sleep(READY_POLL_S)
    notifier.send("READY=1")
    while notifier.watchdog_s:
        await sleep(notifier.watchdog_s / BEATS_A_WATCHDOG)
        if await _holds(check):
            notifier.send("WATCHDOG=1")
        else:
            log.error("the process does not do its work; unless it recovers, systemd restarts it")


async def _holds(check: Check) -> bool:
    try:
        return await check()
    except Exception:
        # The root of a task that must go on saying the truth, whatever broke.
        log.exception("the check of the process's own work failed")
        return False
