"""Which processes there are."""

import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

GONE_DEADLINE_S = 60.0


def is_running(pid: int) -> bool:
    """Whether it is there, and does not merely wait for its parent to take note of its end."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def are_gone(pids: Iterable[int]) -> bool:
    """Whether all have ended, or do so in time."""
    end, left = time.monotonic() + GONE_DEADLINE_S, list(pids)
    while (left := [pid for pid in left if is_running(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return not left


def children(pid: int) -> list[int]:
    """Process ids below `pid`, all generations."""
    text = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in text.splitlines()]
    found = [int(child) for child, parent in rows if int(parent) == pid]
    return found + [deeper for child in found for deeper in children(child)]


def named(pid: int, title: bytes) -> list[int]:
    """Processes below `pid` that bear this title, as vLLM gives it."""
    below = [Path(f"/proc/{child}/cmdline") for child in children(pid)]
    return [int(file.parent.name) for file in below if file.exists() and title in file.read_bytes()]
