"""Child processes of the subnet: started with their own log, watched, and stopped for certain."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from localnet.errors import LocalnetError

STOP_GRACE_S = 25.0
"""From SIGTERM to SIGKILL: an engine that is loading its weights takes this long to notice."""

LOG_TAIL_LINES = 12


class Child:
    """One running process, leader of its own process group."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self.name, self.process, self.log_file = name, process, log_file

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None

    def log_tail(self) -> str:
        """The last lines that it printed."""
        lines = self.log_file.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])

    async def stop(self) -> None:
        """Ask it to end, and make it end when it doesn't; its own children too."""
        if not self.ended:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), STOP_GRACE_S)
        self._signal(signal.SIGKILL)
        await self.process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Children:
    """All child processes of one subnet, in the order in which they were started."""

    def __init__(self, log_folder: Path, working_folder: Path) -> None:
        self._log_folder, self._working_folder = log_folder, working_folder
        self._running: list[Child] = []

    async def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start a process; what it prints goes to `<log folder>/<name>.log`."""
        self._log_folder.mkdir(parents=True, exist_ok=True)
        log_file = self._log_folder / f"{name}.log"
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *dies_with_parent(),
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._working_folder,
                env=dict(environment),
                start_new_session=True,
            )
        child = Child(name, process, log_file)
        self._running.append(child)
        return child

    def check(self) -> None:
        """Check that all are still running.

        Raises:
            LocalnetError: one has ended; the message holds the end of its log.
        """
        for child in self._running:
            if child.ended:
                raise LocalnetError(
                    f"{child.name} stopped with status {child.process.returncode}; "
                    f"{child.log_file} ends with:\n{child.log_tail()}"
                )

    async def stop_all(self) -> None:
        """Stop all, the newest first; engines together, since each takes seconds."""
        await asyncio.gather(*(child.stop() for child in reversed(self._running)))
        self._running.clear()


def dies_with_parent() -> list[str]:
    """A prefix with which the kernel ends the child when this process is killed outright."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
