"""What the gateway counts and times for Prometheus. docs/MONITORING.md says what each series means.

A request adds to plain numbers, twenty times cheaper than a shared counter, and `refresh` brings them over:
before each scrape, and every few seconds where several processes share their metrics. Only distributions
are observed at once. No label names a client, and none holds text from outside: paths and codes are the
gateway's own words, hotkeys come from the list of miners.
"""

import asyncio
import logging
from collections import Counter as Counts
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

log = logging.getLogger(__name__)

PREFIX = "constantinople_gateway"

DURATION_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
"""Of whole answers, up to the default --answer-timeout-s: an error takes milliseconds, an answer seconds."""

FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.6, 1, 1.5, 2.5, 5, 10, 20, 60)
"""vLLM's own range for its time to first token, closer where interactive use is decided."""

INTER_TOKEN_BUCKETS_S = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.4, 1, 2.5)
"""From 400 tokens a second, a small model on a large GPU, to one that stutters."""

SYNC_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

MOST_MINERS = 1024
"""Miners with series of their own, four times a subnet's 256 uids; more are counted in the totals alone."""

MOST_CODES = 100
"""Codes of errors that have series of their own; there are some thirty."""

OTHER_CODE = "other"

REFRESH_S = 2.0

MINER_LABELS = ("uid", "hotkey")

Merge = Literal["livesum", "livemax", "livemin"]
"""How a gauge of several processes becomes one."""

MinerKey = tuple[int, str]
"""A miner's uid and hotkey."""


@dataclass(slots=True)
class MinerCounts:
    """What one miner did since the last refresh."""

    outcomes: Counts[str]
    prompt_tokens: int = 0
    output_tokens: int = 0
    streams: int = 0
    first_token_s: float = 0.0
    answer_s: float = 0.0


class AttemptFacts(NamedTuple):
    """What counts of one attempt at one miner.

    Attributes:
        ttft_s: from sending the request to the miner to the first token; None for an answer in one piece.
        duration_s: from sending the request to the last bytes.
        choices: how many answers came at once, whose tokens arrive side by side.
    """

    miner: MinerKey
    outcome: str
    prompt_tokens: int
    output_tokens: int
    ttft_s: float | None
    duration_s: float
    choices: int


class Metrics:
    """Every series of the gateway.

    Args:
        registry: takes the series; None in a process that shares them through PROMETHEUS_MULTIPROC_DIR.
    """

    def __init__(self, registry: CollectorRegistry | None, build: Mapping[str, str]) -> None:
        self._registry = registry
        self._requests: Counts[tuple[str, str, str]] = Counts()
        self._refusals: Counts[tuple[str, str]] = Counts()
        self._codes: set[str] = set()
        self._miners: dict[MinerKey, MinerCounts] = {}
        self._miners_seen: set[MinerKey] = set()
        self._prompt_tokens = self._output_tokens = self._retries = 0
        self._refreshers: list[Callable[[], None]] = []
        self._make_counters()
        self._make_histograms()
        info = self.gauge("build_info", "Always 1; what runs stands in the labels.", "livemax", tuple(build))
        info.labels(**build).set(1)
        self._queues = self.gauge("queue_depth", "Entries that wait in a queue.", "livesum", ("queue",))

    def _make_counters(self) -> None:
        self._requests_total = self._counter(
            "requests", "Requests that have ended.", ("path", "status", "outcome")
        )
        self._refusals_total = self._counter(
            "refusals", "Requests answered with an error status, by OpenAI's code.", ("status", "code")
        )
        self._prompt_total = self._counter("prompt_tokens", "Prompt tokens of attempts, over all choices.")
        self._output_total = self._counter("output_tokens", "Tokens that miners sent.")
        self._retries_total = self._counter("retries", "Attempts after the first of a request.")
        self._errors_total = self._counter("errors", "What went wrong beside requests.", ("subject",))
        self._miner_attempts = self._counter(
            "miner_attempts", "Attempts at a miner that have ended.", (*MINER_LABELS, "outcome")
        )
        self._miner_sums = {
            "prompt_tokens": self._counter("miner_prompt_tokens", "Prompt tokens.", MINER_LABELS),
            "output_tokens": self._counter("miner_output_tokens", "Tokens that it sent.", MINER_LABELS),
            "streams": self._counter("miner_streams", "Streams that brought a token.", MINER_LABELS),
            "first_token_s": self._counter(
                "miner_first_token_seconds", "Seconds to the first tokens of those streams.", MINER_LABELS
            ),
            "answer_s": self._counter(
                "miner_answer_seconds", "Seconds that its whole answers took.", MINER_LABELS
            ),
        }

    def _make_histograms(self) -> None:
        self._durations = self._histogram(
            "request_duration_seconds",
            "From a request's head to its answer's end.",
            DURATION_BUCKETS_S,
            ("path",),
        )
        self._duration_of: dict[str, Histogram] = {}
        self._first_token = self._histogram(
            "time_to_first_token_seconds",
            "From a streamed request's head to its first token, failed attempts included.",
            FIRST_TOKEN_BUCKETS_S,
        )
        self._inter_token = self._histogram(
            "inter_token_seconds", "Mean time between tokens of one streamed choice.", INTER_TOKEN_BUCKETS_S
        )
        self.record_sync = self._histogram(
            "record_sync_seconds", "How long forcing the record log to disk took.", SYNC_BUCKETS_S
        )

    def _counter(self, name: str, words: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"{PREFIX}_{name}", words, labels, registry=self._registry)

    def _histogram(
        self, name: str, words: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
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
        child, shown = self._errors_total.labels(subject), 0

        def bring_over() -> None:
            nonlocal shown
            now = errors()
            child.inc(now - shown)
            shown = now

        self.before_scrape(bring_over)

    def request_ended(self, path: str, status: int, outcome: str, duration_s: float) -> None:
        """Count a client's request; `path` is one that the gateway knows, or a word for others."""
        self._requests[path, str(status), outcome] += 1
        child = self._duration_of.get(path)
        if child is None:
            child = self._duration_of[path] = self._durations.labels(path)
        child.observe(duration_s)

    def request_refused(self, status: int, code: str | None) -> None:
        """Count an answer with an error status.

        Codes are the gateway's own; should a miner's word come through one day, it makes no endless series.
        """
        word = code or "none"
        if word not in self._codes:
            if len(self._codes) >= MOST_CODES:
                word = OTHER_CODE
            self._codes.add(word)
        self._refusals[str(status), word] += 1

    def retried(self, attempts: int) -> None:
        """Count attempts that were not the first of their request."""
        self._retries += attempts

    def first_token(self, seconds: float) -> None:
        """Time the first token as the client saw it."""
        self._first_token.observe(seconds)

    def attempt_ended(self, facts: AttemptFacts) -> None:
        """Count an attempt."""
        self._prompt_tokens += facts.prompt_tokens
        self._output_tokens += facts.output_tokens
        if facts.ttft_s is not None and facts.outcome == "answered":
            between = facts.output_tokens / max(facts.choices, 1) - 1
            if between > 0:
                self._inter_token.observe((facts.duration_s - facts.ttft_s) / between)
        counts = self._miners.get(facts.miner)
        if counts is None:
            counts = self._miners[facts.miner] = MinerCounts(Counts())
        counts.outcomes[facts.outcome] += 1
        counts.prompt_tokens += facts.prompt_tokens
        counts.output_tokens += facts.output_tokens
        if facts.ttft_s is not None:
            counts.streams += 1
            counts.first_token_s += facts.ttft_s
        if facts.outcome == "answered":
            counts.answer_s += facts.duration_s

    def refresh(self) -> None:
        """Bring everything up to date for a scrape."""
        self._flush(self._requests_total, self._requests)
        self._flush(self._refusals_total, self._refusals)
        self._prompt_total.inc(self._prompt_tokens)
        self._output_total.inc(self._output_tokens)
        self._retries_total.inc(self._retries)
        self._prompt_tokens = self._output_tokens = self._retries = 0
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

    def _flush(self, counter: Counter, counts: Counts[Any]) -> None:
        for labels, count in counts.items():
            counter.labels(*labels).inc(count)
        counts.clear()

    def flush_miners(self, present: Collection[MinerKey]) -> None:
        """Bring over what miners did, and end the series of those that are not `present` any more."""
        for key in [*self._miners_seen - set(present)]:
            self._forget(key)
        for key, counts in self._miners.items():
            if key in present and (key in self._miners_seen or len(self._miners_seen) < MOST_MINERS):
                self._miners_seen.add(key)
                self._bring_over(key, counts)
        self._miners.clear()

    def _bring_over(self, key: MinerKey, counts: MinerCounts) -> None:
        labels = (str(key[0]), key[1])
        for outcome, count in counts.outcomes.items():
            self._miner_attempts.labels(*labels, outcome).inc(count)
        for name, counter in self._miner_sums.items():
            counter.labels(*labels).inc(getattr(counts, name))

    def _forget(self, key: MinerKey) -> None:
        self._miners_seen.discard(key)
        self.end_series(key, self._miner_attempts, *self._miner_sums.values())

    def end_series(self, miner: MinerKey, *metrics: Counter | Gauge) -> None:
        """Show nothing of a miner any more; what processes share stays, and `Exposition` leaves it out."""
        if self._registry is None:
            return
        uid, hotkey = miner
        for metric in metrics:
            metric.remove_by_labels({"uid": str(uid), "hotkey": hotkey})
