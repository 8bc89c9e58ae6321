"""Several processes behind one port: a parent that serves nothing starts them, watches them, and ends them.

Every worker listens on the port by itself (SO_REUSEPORT: the kernel spreads connections), writes a record
log of its own, and shares the database of keys. What is counted in memory counts per worker: the requests
and tokens a minute of a client, a miner's load and failures, and the nonces of trusted callers.
This module imports nothing heavy, so that the parent stays small.
"""

import ctypes
import logging
import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from gateway.config import GatewayConfig
from shared.errors import ConfigError
from shared.folder_lock import lock_folder
from shared.record_folders import records_folder

log = logging.getLogger(__name__)

FIRST_RESTART_S = 0.5
LONGEST_RESTART_S = 30.0
SETTLED_S = 60.0
"""A worker that ended is started again after 0.5 s, twice as long each time it lived less than a minute."""

START_S = 120.0
POLL_S = 0.1
GRACE_S = 15.0
"""How much longer than its answers a worker may take to end."""

CONFIG_ERROR = 2
"""Exit status of a worker that can't run as it was told: starting it again would not help."""

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PR_SET_PDEATHSIG = 1
_FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_WATCHED = _FORWARDED | {signal.SIGCHLD}


@dataclass(frozen=True)
class Worker:
    """Which worker this process is, from 1, and what it is told."""

    number: int
    config: GatewayConfig


@dataclass
class _Place:
    """One worker's place.

    Attributes:
        pid: of the process that runs there; None while none does.
        start_at_s: when the next one is started.
        failures: ends in a row that came too soon.
    """

    pid: int | None = None
    started_s: float = 0.0
    start_at_s: float = 0.0
    failures: int = 0


def supervise(config: GatewayConfig) -> Worker:
    """Run `config.workers` workers until a signal. Returns in each worker; in the parent it never does.

    Raises:
        ConfigError: the port or the record log is taken.
        SystemExit: the parent's end.
    """
    records = records_folder(config.state_dir)
    records.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(records, f"another process writes to {records}; choose another --state-dir")
    _share_metrics(config.state_dir.expanduser() / "metrics")
    with reserve_port(config.host, config.port) as held:
        told = replace(
            config,
            port=held.getsockname()[1],
            max_connections=max(1, config.max_connections // config.workers),
        )
        parent = _Parent(told, {number: _Place() for number in range(1, config.workers + 1)})
        worker = parent.run()
    os.close(lock)
    return worker


def reserve_port(host: str, port: int) -> socket.socket:
    """A socket that holds a port for workers without listening there.

    Raises:
        ConfigError: it can't be had.
    """
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise ConfigError(
            f"can't listen on port {port} of {host}: {error.strerror or error}; "
            "stop what uses it, or choose another with --port and --host"
        ) from None
    return held


def _share_metrics(folder: Path) -> None:
    """Give the workers an empty folder for series that they share (prometheus_client's multiprocess mode)."""
    folder = Path(os.environ.setdefault(METRICS_VARIABLE, str(folder)))
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


def _forget_gauges(pid: int) -> None:
    """What a process showed of its present ends with it."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class _Parent:
    """Starts workers, and starts those again that end."""

    def __init__(self, config: GatewayConfig, places: Mapping[int, _Place]) -> None:
        self._config, self._places = config, places
        self._pid = os.getpid()
        self._ending = False

    def run(self) -> Worker:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        first = self._start(1)
        if first is not None:
            return first
        self._wait_for_first()
        while not self._ending:
            worker = self._start_due()
            if worker is not None:
                return worker
            self._take_signal(self._pause_s())
        raise SystemExit(self._end())

    def _start(self, number: int) -> Worker | None:
        """Start a worker; gives it in its own process, None in the parent."""
        place = self._places[number]
        place.pid = os.fork()
        if place.pid == 0:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
            _end_with(self._pid)
            return Worker(number, self._config)
        place.started_s = time.monotonic()
        log.info("worker %d is process %d", number, place.pid)
        return None

    def _wait_for_first(self) -> None:
        """Until the first worker serves: it makes the files and tables that all share."""
        until_s = time.monotonic() + START_S
        while not self._ending and self._places[1].pid and time.monotonic() < until_s and not self._serves():
            self._take_signal(POLL_S)

    def _serves(self) -> bool:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._config.host, self._config.host)
        with suppress(OSError), socket.create_connection((host, self._config.port), timeout=1.0):
            return True
        return False

    def _start_due(self) -> Worker | None:
        for number, place in self._places.items():
            if place.pid is None and place.start_at_s <= time.monotonic():
                worker = self._start(number)
                if worker is not None:
                    return worker
        return None

    def _pause_s(self) -> float:
        waiting = [place.start_at_s for place in self._places.values() if place.pid is None]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else 3600.0

    def _take_signal(self, timeout_s: float) -> None:
        found = signal.sigtimedwait(_WATCHED, timeout_s)
        if found is None:
            return
        if found.si_signo == signal.SIGCHLD:
            self._reap()
        elif found.si_signo == signal.SIGHUP:
            self._tell(signal.SIGHUP)
        else:
            self._ending = True

    def _reap(self) -> None:
        for number, place in self._places.items():
            if place.pid is None:
                continue
            pid, status = os.waitpid(place.pid, os.WNOHANG)
            if pid:
                self._ended(number, place, os.waitstatus_to_exitcode(status))

    def _ended(self, number: int, place: _Place, status: int) -> None:
        now_s = time.monotonic()
        soon = now_s - place.started_s < SETTLED_S
        place.failures = place.failures + 1 if soon else 1
        pause_s = min(FIRST_RESTART_S * 2 ** min(place.failures - 1, 10), LONGEST_RESTART_S)
        if place.pid is not None:
            _forget_gauges(place.pid)
        place.pid, place.start_at_s = None, now_s + pause_s
        if status == CONFIG_ERROR:
            self._tell(signal.SIGTERM)
            raise SystemExit(self._end(CONFIG_ERROR))
        if not self._ending:
            log.error("worker %d ended with status %d; it is started again in %g s", number, status, pause_s)

    def _tell(self, number: signal.Signals) -> None:
        for place in self._places.values():
            if place.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(place.pid, number)

    def _end(self, status: int = 0) -> int:
        """End every worker; those that do not end in time are killed."""
        self._ending = True
        self._tell(signal.SIGTERM)
        until_s = time.monotonic() + self._config.shutdown_seconds + GRACE_S
        while any(place.pid for place in self._places.values()) and time.monotonic() < until_s:
            self._take_signal(POLL_S)
        self._tell(signal.SIGKILL)
        for place in self._places.values():
            if place.pid is not None:
                os.waitpid(place.pid, 0)
        log.info("all workers have ended")
        return status


def _end_with(parent: int) -> None:
    """Let the kernel end this process when its parent is killed outright (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(1)
