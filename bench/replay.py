"""`python -m bench.replay`: what it costs a stranger to replay an epoch."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.plain_table import plain
from shared.config import at_least, between, exit_on_config_error, load, setting
from shared.errors import ConfigError

DESCRIPTION = (
    "Publish an epoch of so many requests into a folder, replay it as a stranger does, in a process of its "
    "own, and measure that process."
)
_PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class ReplayBenchConfig:
    """How large the epoch is."""

    requests: int = setting(100_000, "requests of the epoch", at_least(100))
    miners: int = setting(64, "miners, each of which has up to 100 audits", between(2, 1000))
    seed: int = setting(1, "seed of everything that is drawn", at_least(0))
    folder: Path | None = setting(None, "folder to keep the epoch in, or to take it from (default: none)")


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds by the clock and of CPU, and the most memory that it held."""

    wall_s: float
    cpu_s: float
    peak_rss_bytes: int
    size_bytes: int


def run(config: ReplayBenchConfig, say: Callable[[str], None]) -> Cost:
    """Measure and print.

    Raises:
        ConfigError: the replay found something wrong with the epoch.
    """
    with tempfile.TemporaryDirectory(prefix="constantinople-bench-") as scratch:
        folder = config.folder or Path(scratch)
        if not (folder / "epochs" / "latest.json").exists():
            with ProcessPoolExecutor(1) as apart:
                # A process's peak of memory begins with that of the one that started it.
                apart.submit(_publish, config, folder).result()
        cost = _measured([sys.executable, "validator/replay.py", "--from", str(folder)], folder)
    head = ("requests", "published, MB", "wall, s", "CPU, s", "peak memory, MB")
    row = (f"{config.requests}", f"{cost.size_bytes / 1e6:.0f}", f"{cost.wall_s:.0f}", f"{cost.cpu_s:.0f}")
    say(plain(head, [(*row, f"{cost.peak_rss_bytes / 1e6:.0f}")]))
    return cost


def _publish(config: ReplayBenchConfig, folder: Path) -> None:
    from bench.epoch_answers import EpochSize
    from bench.published_epoch import EpochMaker
    from shared.object_store import FolderStore

    size = EpochSize(config.requests, config.miners, config.seed)
    EpochMaker(size, lambda words: print(words, file=sys.stderr)).publish(FolderStore(folder))


def _measured(command: list[str], folder: Path) -> Cost:
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=_PROJECT)
    _, status, used = os.wait4(process.pid, 0)
    wall_s = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise ConfigError(f"the replay ended with status {process.returncode}: its page says why")
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024, size)


def main() -> int:
    """Measure and print."""
    run(load(ReplayBenchConfig, DESCRIPTION, prog="python -m bench.replay"), print)
    return 0


if __name__ == "__main__":
    exit_on_config_error(main)
