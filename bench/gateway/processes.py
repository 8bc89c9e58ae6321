"""Child processes of the benchmark: on a core of their own, with a log, measured, and stopped for certain."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from localnet.children import dies_with_parent
from shared.errors import ConstantinopleError

STOP_GRACE_S = 10.0
LOG_TAIL_BYTES = 2000


class BenchError(ConstantinopleError):
    """The benchmark can't measure; the message says what is missing."""


class Process:
    """One child, leader of its own process group; its own children count as it."""

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", log_file: Path) -> None:
        self.name, self._popen, self._log_file = name, popen, log_file

    def check(self) -> None:
        """Raise BenchError when it has ended."""
        if self._popen.poll() is not None:
            raise BenchError(f"{self.name} stopped with status {self._popen.returncode}: {self.log_tail()}")

    def log(self) -> str:
        """What it has printed."""
        return self._log_file.read_text(errors="replace")

    def log_tail(self) -> str:
        """The end of what it has printed."""
        return self.log()[-LOG_TAIL_BYTES:]

    def pids(self) -> list[int]:
        """Itself and its descendants."""
        found = [self._popen.pid]
        for pid in found:
            for task in _entries(Path(f"/proc/{pid}/task")):
                with suppress(OSError):
                    found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_s(self) -> float:
        """CPU time of all its threads, ended ones included."""
        return sum(_cpu_s(pid) for pid in self.pids())

    def rss_mb(self) -> float:
        """Memory that is resident now, in MiB; pages that its processes share count for each."""
        return sum(_rss_kib(pid) for pid in self.pids()) / 1024

    def stop(self) -> None:
        """Ask it to end, and make it end when it doesn't."""
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_GRACE_S)
        with suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _cpu_s(pid: int) -> float:
    """Linux makes the id of a process's CPU clock from its pid (CPUCLOCK_SCHED in clock_getcpuclockid)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def _rss_kib(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("VmRSS:"))
    return sum(int(words[1]) for words in lines)


def on_core(core: int) -> list[str]:
    """A prefix that keeps a command on one core, where there is more than one."""
    taskset, cores = shutil.which("taskset"), sorted(os.sched_getaffinity(0))
    return [taskset, "-c", str(cores[core % len(cores)])] if taskset and len(cores) > 1 else []


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    folder: Path,
    core: int | None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Process]:
    """A child that writes to `<folder>/<name>.log`; it is stopped at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    log_file = folder / f"{name}.log"
    with log_file.open("wb") as log:
        popen = subprocess.Popen(
            [*dies_with_parent(), *(on_core(core) if core is not None else []), *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    process = Process(name, popen, log_file)
    try:
        yield process
    finally:
        process.stop()
