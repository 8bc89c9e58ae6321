"""What the gateway counts and times for Prometheus. docs/MONITORING.md says what each series means.

A request adds to plain numbers, twenty times cheaper than a shared counter, and `refresh` brings them over:
before each scrape, and every few seconds where several processes share their metrics. Only distributions
are observed at once. No label names a client, and none holds text from outside: paths and codes are the
gateway's own words, hotkeys come from the list of miners.
"""

from collections import Counter as Counts
from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram

from gateway.miner_metrics import AttemptFacts, MinerMetrics
from gateway.series import Series

DURATION_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
"""Of whole answers, up to the default --answer-timeout-s: an error takes milliseconds, an answer seconds."""

FIRST_TOKEN_BUCKETS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.4, 0.6, 1, 1.5, 2.5, 5, 10, 20, 60)
"""vLLM's own range for its time to first token, closer where interactive use is decided."""

INTER_TOKEN_BUCKETS_S = (0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.4, 1, 2.5)
"""From 400 tokens a second, a small model on a large GPU, to one that stutters."""

SYNC_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

MOST_CODES = 100
"""Codes of errors that have series of their own; there are some thirty."""

OTHER_CODE = "other"


class Metrics(Series):
    """Every series of the gateway.

    Args:
        registry: takes the series; None in a process that shares them through PROMETHEUS_MULTIPROC_DIR.
    """

    def __init__(self, registry: CollectorRegistry | None, build: Mapping[str, str]) -> None:
        super().__init__(registry)
        self._requests: Counts[tuple[str, str, str]] = Counts()
        self._refusals: Counts[tuple[str, str]] = Counts()
        self._codes: set[str] = set()
        self._prompt_tokens = self._output_tokens = self._retries = 0
        self._make_counters()
        self._make_histograms()
        info = self.gauge("build_info", "Always 1; what runs stands in the labels.", "livemax", tuple(build))
        info.labels(**build).set(1)
        self.miners = MinerMetrics(self)

    def _make_counters(self) -> None:
        self._requests_total = self.counter(
            "requests", "Requests that have ended.", ("path", "status", "outcome")
        )
        self._refusals_total = self.counter(
            "refusals", "Requests answered with an error status, by OpenAI's code.", ("status", "code")
        )
        self._prompt_total = self.counter("prompt_tokens", "Prompt tokens of attempts, over all choices.")
        self._output_total = self.counter("output_tokens", "Tokens that miners sent.")
        self._retries_total = self.counter("retries", "Attempts after the first of a request.")

    def _make_histograms(self) -> None:
        self._durations = self.histogram(
            "request_duration_seconds",
            "From a request's head to its answer's end.",
            DURATION_BUCKETS_S,
            ("path",),
        )
        self._duration_of: dict[str, Histogram] = {}
        self._first_token = self.histogram(
            "time_to_first_token_seconds",
            "From a streamed request's head to its first token, failed attempts included.",
            FIRST_TOKEN_BUCKETS_S,
        )
        self._inter_token = self.histogram(
            "inter_token_seconds", "Mean time between tokens of one streamed choice.", INTER_TOKEN_BUCKETS_S
        )
        self.record_sync = self.histogram(
            "record_sync_seconds", "How long forcing the record log to disk took.", SYNC_BUCKETS_S
        )

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
        self.miners.attempt_ended(facts)

    def refresh(self) -> None:
        """Bring everything up to date for a scrape."""
        self._flush(self._requests_total, self._requests)
        self._flush(self._refusals_total, self._refusals)
        self._prompt_total.inc(self._prompt_tokens)
        self._output_total.inc(self._output_tokens)
        self._retries_total.inc(self._retries)
        self._prompt_tokens = self._output_tokens = self._retries = 0
        super().refresh()

    def _flush(self, counter: Counter, counts: Counts[Any]) -> None:
        for labels, count in counts.items():
            counter.labels(*labels).inc(count)
        counts.clear()
