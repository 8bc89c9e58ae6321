"""Settings of the watchdog. Imports nothing heavy."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, setting

DESCRIPTION = (
    "Ends a process that no longer answers, so that its supervisor (PM2) starts it again. Under systemd it "
    "is not needed: the processes tell systemd themselves."
)


@dataclass(frozen=True)
class WatchdogConfig:
    """What `python -m shared.watchdog` is told."""

    url: str | None = setting(None, "what must answer, with any status: http://127.0.0.1:8081/health")
    pid_file: Path | None = setting(None, "file with the process's id, or a pattern: ~/.pm2/pids/miner-*.pid")
    program: str | None = setting(
        None, "a part of the process's command line, so that no other process is ever ended"
    )
    every_seconds: float = setting(20.0, "seconds between questions", at_least(0.1))
    deadline_seconds: float = setting(20.0, "seconds that an answer may take", at_least(0.1))
    failures: int = setting(4, "questions in a row without an answer, after which it is ended", at_least(1))
    grace_seconds: float = setting(60.0, "seconds between SIGTERM and SIGKILL", at_least(0))
    start_seconds: float = setting(
        1800.0, "seconds that a new process may take to its first answer", at_least(1)
    )
