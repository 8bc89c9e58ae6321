"""The state that /metrics shows: of each miner, of the list of miners, the record log and the keys."""

from collections.abc import Callable

from gateway.admission import Admission
from gateway.breaker import State
from gateway.clock import Clock
from gateway.discovery import Discovery
from gateway.health import Readiness
from gateway.metrics import Metrics
from gateway.miner_metrics import MOST_MINERS
from gateway.miners import KnownMiner, MinerTable
from gateway.recording import Recorder
from gateway.series import MINER_LABELS, Merge, MinerKey
from gateway.waiting_line import WaitingLine

BREAKER_STATES: tuple[State, ...] = ("closed", "half_open", "open")

NEVER_S = -1.0
"""Shown as the age of what has not happened yet."""


class MinerGauges:
    """One set of series for each miner of the list, as long as it is on it."""

    def __init__(self, metrics: Metrics, table: MinerTable, clock: Clock) -> None:
        self._metrics, self._table, self._clock = metrics, table, clock
        self._shown: set[MinerKey] = set()
        self._in_flight = metrics.gauge(
            "miner_in_flight", "Requests that it serves now.", "livesum", MINER_LABELS
        )
        self._callable = metrics.gauge(
            "miner_callable", "1 when its health allows requests.", "livemin", MINER_LABELS
        )
        self._breaker = metrics.gauge(
            "miner_breaker", "Circuit breaker: 0 closed, 1 half open, 2 open.", "livemax", MINER_LABELS
        )
        self._failures = metrics.gauge(
            "miner_failures_in_a_row", "Failures since its last success.", "livemax", MINER_LABELS
        )
        self._counts = metrics.gauge("miners", "Miners by what they can be used for.", "livemin", ("state",))
        metrics.before_scrape(self.refresh)

    def refresh(self) -> None:
        """Set all, and end the series of miners that left."""
        miners = self._table.all()[:MOST_MINERS]
        present = {(miner.uid, miner.hotkey) for miner in miners}
        self._metrics.miners.flush(present)
        for gone in self._shown - present:
            self._metrics.end_series(gone, self._in_flight, self._callable, self._breaker, self._failures)
        self._shown = present
        states = {"ready": 0, "resting": 0, "not_callable": 0}
        for miner in miners:
            states[self._show(miner)] += 1
        for state, count in states.items():
            self._counts.labels(state).set(count)

    def _show(self, miner: KnownMiner) -> str:
        labels = (str(miner.uid), miner.hotkey)
        state = miner.breaker.state(self._clock.monotonic_s())
        self._in_flight.labels(*labels).set(miner.in_flight)
        self._callable.labels(*labels).set(miner.callable)
        self._breaker.labels(*labels).set(BREAKER_STATES.index(state))
        self._failures.labels(*labels).set(miner.breaker.failures_in_a_row)
        if not miner.callable:
            return "not_callable"
        return "resting" if state == "open" else "ready"


def show_gateway(
    metrics: Metrics,
    table: MinerTable,
    discovery: Discovery,
    recorder: Recorder,
    admission: Admission,
    readiness: Readiness,
    line: WaitingLine,
    clock: Clock,
) -> None:
    """Show miners, how old their list is, whether records can be written and keys read, and what follows."""
    MinerGauges(metrics, table, clock)

    def show(name: str, words: str, merge: Merge, value: Callable[[], float]) -> None:
        gauge = metrics.gauge(name, words, merge)
        metrics.before_scrape(lambda: gauge.set(value()))

    def list_age_s() -> float:
        age_s = discovery.list_age_s()
        return NEVER_S if age_s is None else age_s

    show("metagraph_age_seconds", "Since the list of miners was read; -1: never.", "livemax", list_age_s)
    show(
        "record_log_writable", "1 while records can be written.", "livemin", lambda: recorder.failure is None
    )
    show("keys_readable", "1 while the keys can be read.", "livemin", lambda: admission.key_failure is None)
    show("ready", "1 while GET /ready says yes.", "livemin", lambda: not readiness.reasons())
    show("draining", "1 from SIGTERM on.", "livemax", lambda: readiness.drain.draining)
    metrics.count_errors("miner_list", lambda: discovery.errors)
    metrics.count_errors("key_store", lambda: admission.key_errors)
    metrics.count_errors("usage_store", lambda: admission.book.errors)
    metrics.watch_queue("usage", lambda: admission.book.waiting)
    metrics.watch_queue("clients", lambda: len(line))
