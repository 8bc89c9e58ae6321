"""`python -m shared.watchdog`: ends a process that no longer answers, so that PM2 starts it again.

A process that ended is PM2's own business; one that hangs is not, since PM2 asks nothing. The decision is
pure (`Watch`); ending checks first that the process id still belongs to the program that is meant.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from shared.config import exit_on_config_error, load
from shared.errors import ConfigError
from shared.logs import set_up_logs
from shared.watchdog_config import DESCRIPTION, WatchdogConfig

log = logging.getLogger(__name__)


@dataclass
class Watch:
    """Decides from what a process answered whether it is to be ended.

    Attributes:
        failures: questions in a row without an answer that are too many.
        start_s: how long a new process may take to its first answer.
    """

    failures: int
    start_s: float
    _pid: int | None = None
    _since_s: float = 0.0
    _answered: bool = False
    _missed: int = 0

    def hangs(self, pid: int | None, answered: bool, now_s: float) -> bool:
        """Note one question; whether the process `pid` is to be ended. None: it does not run."""
        if pid != self._pid:
            self._pid, self._since_s, self._answered, self._missed = pid, now_s, False, 0
        if pid is None:
            return False
        if answered:
            self._answered, self._missed = True, 0
            return False
        self._missed += 1
        if not self._answered:
            return now_s - self._since_s > self.start_s
        return self._missed >= self.failures


def read_pid(pid_file: Path, program: str, proc: Path = Path("/proc")) -> int | None:
    """The process that the newest of the files names; None when none of them names one that runs.

    A process id that another program has by now is none.
    """
    folder, pattern = pid_file.expanduser().parent, pid_file.name
    with suppress(OSError):
        newest = sorted(folder.glob(pattern), key=lambda file: file.stat().st_mtime, reverse=True)
        return next((pid for file in newest if (pid := _pid_in(file, program, proc)) is not None), None)
    return None


def _pid_in(file: Path, program: str, proc: Path) -> int | None:
    try:
        pid = int(file.read_text())
        command = (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if program in command else None


Sleep = Callable[[float], Awaitable[None]]


def _names(pid_file: Path, program: str, pid: int) -> bool:
    """Whether the file still names that process."""
    return read_pid(pid_file, program) == pid


async def end(pid: int, grace_s: float, still_runs: Callable[[], bool], sleep: Sleep) -> None:
    """SIGTERM, and SIGKILL once the grace is over."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    waited_s = 0.0
    while still_runs() and waited_s < grace_s:
        await sleep(1.0)
        waited_s += 1.0
    if still_runs():
        log.error("process %d does not end by itself: killing it", pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


async def answers(http: httpx.AsyncClient, url: str, deadline_s: float) -> bool:
    """Whether anything with an HTTP status came in time."""
    try:
        async with asyncio.timeout(deadline_s):
            await http.get(url, timeout=deadline_s)
    except (httpx.HTTPError, TimeoutError):
        return False
    return True


async def watch(config: WatchdogConfig, url: str, pid_file: Path, program: str) -> None:
    """Ask for ever."""
    book = Watch(config.failures, config.start_seconds)
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            answered = await answers(http, url, config.deadline_seconds)
            pid = read_pid(pid_file, program)
            if book.hangs(pid, answered, time.monotonic()) and pid is not None:
                log.error("%s does not answer: ending process %d", url, pid)
                runs = partial(_names, pid_file, program, pid)
                await end(pid, config.grace_seconds, runs, asyncio.sleep)
            await asyncio.sleep(config.every_seconds)


def main() -> int:
    """Watch until a signal."""
    config = load(WatchdogConfig, DESCRIPTION, prog="python -m shared.watchdog")
    if config.url is None or config.pid_file is None or config.program is None:
        raise ConfigError("name the process with --url, --pid-file and --program")
    set_up_logs()
    asyncio.run(watch(config, config.url, config.pid_file, config.program))
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
