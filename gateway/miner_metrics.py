"""What each miner did, as series of its own for as long as it is on the list of miners."""

from collections import Counter as Counts
from collections.abc import Collection
from dataclasses import dataclass
from typing import NamedTuple

from gateway.series import MINER_LABELS, MinerKey, Series

MOST_MINERS = 1024
"""Miners with series of their own, four times a subnet's 256 uids; more are counted in the totals alone."""


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


class MinerMetrics:
    """Counts attempts by miner."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._waiting: dict[MinerKey, MinerCounts] = {}
        self._shown: set[MinerKey] = set()
        self._attempts = series.counter(
            "miner_attempts", "Attempts at a miner that have ended.", (*MINER_LABELS, "outcome")
        )
        self._sums = {
            field: series.counter(f"miner_{name}", words, MINER_LABELS)
            for field, name, words in (
                ("prompt_tokens", "prompt_tokens", "Prompt tokens of its attempts."),
                ("output_tokens", "output_tokens", "Tokens that it sent."),
                ("streams", "streams", "Streams that brought a token."),
                ("first_token_s", "first_token_seconds", "Seconds to the first tokens of its streams."),
                ("answer_s", "answer_seconds", "Seconds that its whole answers took."),
            )
        }

    def attempt_ended(self, facts: AttemptFacts) -> None:
        """Count an attempt."""
        counts = self._waiting.get(facts.miner)
        if counts is None:
            counts = self._waiting[facts.miner] = MinerCounts(Counts())
        counts.outcomes[facts.outcome] += 1
        counts.prompt_tokens += facts.prompt_tokens
        counts.output_tokens += facts.output_tokens
        if facts.ttft_s is not None:
            counts.streams += 1
            counts.first_token_s += facts.ttft_s
        if facts.outcome == "answered":
            counts.answer_s += facts.duration_s

    def flush(self, present: Collection[MinerKey]) -> None:
        """Bring over what was counted, and end the series of miners that are not `present` any more."""
        for key in self._shown - set(present):
            self._series.end_series(key, self._attempts, *self._sums.values())
        self._shown &= set(present)
        for key, counts in self._waiting.items():
            if key in present and (key in self._shown or len(self._shown) < MOST_MINERS):
                self._shown.add(key)
                self._bring_over(key, counts)
        self._waiting.clear()

    def _bring_over(self, key: MinerKey, counts: MinerCounts) -> None:
        labels = (str(key[0]), key[1])
        for outcome, count in counts.outcomes.items():
            self._attempts.labels(*labels, outcome).inc(count)
        for name, counter in self._sums.items():
            counter.labels(*labels).inc(getattr(counts, name))
