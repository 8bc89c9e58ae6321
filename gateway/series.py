"""Makes the series of /metrics, and brings them up to date before each scrape."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

log = logging.getLogger(__name__)

PREFIX = "constantinople_gateway"

REFRESH_S = 2.0

MINER_LABELS = ("uid", "hotkey")

Merge = Literal["livesum", "livemax", "livemin"]
"""How a gauge of several processes becomes one."""

MinerKey = tuple[int, str]
"""A miner's uid and hotkey."""


class Series:
    """Series of one registry.

    Args:
        registry: takes the series; None in a process that shares them through PROMETHEUS_MULTIPROC_DIR.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._registry = registry
        self._refreshers: list[Callable[[], None]] = []
        self._queues = self.gauge("queue_depth", "Entries that wait in a queue.", "livesum", ("queue",))
        self._errors = self.counter("errors", "What went wrong beside requests.", ("subject",))

    def counter(self, name: str, words: str, labels: Sequence[str] = ()) -> Counter:
        """A counter `constantinople_gateway_<name>_total`."""
        return Counter(f"{PREFIX}_{name}", words, labels, registry=self._registry)

    def histogram(
        self, name: str, words: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """A histogram `constantinople_gateway_<name>`; the last bucket, without a bound, comes by itself."""
        return Histogram(f"{PREFIX}_{name}", words, labels, buckets=buckets, registry=self._registry)

    def gauge(self, name: str, words: str, merge: Merge, labels: Sequence[str] = ()) -> Gauge:
        """A gauge `constantinople_gateway_<name>`, to be set by a function given to `before_scrape`."""
        return Gauge(f"{PREFIX}_{name}", words, labels, registry=self._registry, multiprocess_mode=merge)

    def before_scrape(self, refresh: Callable[[], None]) -> None:
        """Have `refresh` called before every scrape; it must be quick and must not raise."""
        self._refreshers.append(refresh)

    def watch_queue(self, queue: str, depth: Callable[[], float]) -> None:
        """Show how many entries wait in a queue, as `queue_depth{queue="…"}`."""
        child = self._queues.labels(queue)
        self.before_scrape(lambda: child.set(depth()))

    def count_errors(self, subject: str, errors: Callable[[], int]) -> None:
        """Show what `errors`, which only ever grows, counts, as `errors_total{subject="…"}`."""
        child, shown = self._errors.labels(subject), 0

        def bring_over() -> None:
            nonlocal shown
            now = errors()
            child.inc(now - shown)
            shown = now

        self.before_scrape(bring_over)

    def refresh(self) -> None:
        """Bring everything up to date for a scrape."""
        for refresh in self._refreshers:
            refresh()

    async def run(self) -> None:
        """Refresh for ever: where processes share their series, any of them answers a scrape for all."""
        while True:
            await asyncio.sleep(REFRESH_S)
            try:
                self.refresh()
            except Exception:
                log.exception("refreshing metrics failed; it is tried again in %g s", REFRESH_S)

    def end_series(self, miner: MinerKey, *metrics: Counter | Gauge) -> None:
        """Show nothing of a miner any more; what processes share stays, and `Exposition` leaves it out."""
        if self._registry is None:
            return
        uid, hotkey = miner
        for metric in metrics:
            metric.remove_by_labels({"uid": str(uid), "hotkey": hotkey})
