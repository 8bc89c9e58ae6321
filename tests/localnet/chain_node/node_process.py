"""The node as its users start it: a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

REPOSITORY = Path(__file__).resolve().parents[3]
_LISTENING = "listening on "


class NodeProcess:
    """Use as a context manager; the process is gone after it."""

    def __init__(self, *flags: str | Path) -> None:
        command = [sys.executable, "-m", "localnet.chain_node", *map(str, flags)]
        self.process = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.first_lines: list[str] = []

    @property
    def url(self) -> str:
        """The address that the node printed; waits for it."""
        while not (self.first_lines and self.first_lines[-1].startswith(_LISTENING)):
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            assert line, self.process.stderr and self.process.stderr.read()
            self.first_lines.append(line.rstrip("\n"))
        return self.first_lines[-1].removeprefix(_LISTENING)

    def end(self, how: signal.Signals) -> tuple[int, str]:
        """Sends a signal; returns exit code and what is left of stderr."""
        os.kill(self.process.pid, how)
        return self.finish()

    def finish(self) -> tuple[int, str]:
        """Waits for the end; returns exit code and stderr."""
        _, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
