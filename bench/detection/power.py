"""What a row's verdicts say: how often one audit catches, and how many audits the sequential test needs."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bench.detection.at_best import AtBest, at_best
from bench.detection.measuring import Measured
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, advance, is_rejected
from validator.verdicts import Verdict

RESAMPLED_RUNS = 1000
"""Runs of the sequential test over the row's verdicts, drawn with replacement (Efron's bootstrap, 1979)."""

LONGEST_RUN = 200
"""A run that has not rejected by then counts as never."""

_UPPER_BOUNDS = {0: 3.0, 1: 4.74, 2: 6.30, 3: 7.75, 4: 9.15, 5: 10.51}
"""95 % one-sided upper bound of a Poisson mean by the count seen (Garwood, 1936)."""


@dataclass(frozen=True)
class Power:
    """One row of the table.

    Attributes:
        audits: audited requests, inconclusive ones among them.
        caught: share of audits that failed.
        median, p95: audits until the evidence passes the sequential test's limit; None when it never does.
        costs_weight: median of audits until the network acts on it, which takes two audits at least.
        rejected: of RESAMPLED_RUNS, those in which the network acts on it within LONGEST_RUN audits.
        at_best: what the best single bet needs; None where nothing speaks against the miner.
        checks: which checks decided failed audits, most frequent first.
        token_checked: share of audits whose tokens were checked.
    """

    audits: int
    inconclusive: int
    unanswered: int
    caught: float
    median: int | None
    p95: int | None
    costs_weight: int | None
    rejected: int
    at_best: AtBest | None
    checks: tuple[str, ...]
    token_checked: float


def power(measured: Measured, config: ScoringConfig, seed: int = 0) -> Power:
    """The row of a cheat."""
    verdicts = measured.verdicts
    failed = [one for one in verdicts if one.outcome == "fail"]
    lengths = run_lengths(verdicts, config.model_copy(update={"audit_share": 1.0}), seed)
    acted_on = run_lengths(verdicts, config, seed)
    reasons = Counter(one.check for one in failed).most_common()
    return Power(
        audits=len(verdicts),
        inconclusive=sum(one.outcome == "inconclusive" for one in verdicts),
        unanswered=measured.unanswered,
        caught=len(failed) / max(len(verdicts), 1),
        median=_rank(lengths, 0.5),
        p95=_rank(lengths, 0.95),
        costs_weight=_rank(acted_on, 0.5),
        rejected=sum(length is not None for length in acted_on),
        at_best=at_best(verdicts, config),
        checks=tuple(check for check, _ in reasons),
        token_checked=sum(one.tokens is not None and not one.tokens.unchecked for one in verdicts)
        / max(len(verdicts), 1),
    )


def run_lengths(verdicts: Sequence[Verdict], config: ScoringConfig, seed: int) -> list[int | None]:
    """Audits until rejection in each resampled run."""
    draw = random.Random(seed)
    return [_run(verdicts, config, draw) for _ in range(RESAMPLED_RUNS)] if verdicts else []


def _run(verdicts: Sequence[Verdict], config: ScoringConfig, draw: random.Random) -> int | None:
    standing = NEWCOMER
    for number in range(1, LONGEST_RUN + 1):
        standing = advance(standing, draw.choice(verdicts), config)
        if is_rejected(standing, config):
            return number
    return None


def _rank(lengths: Sequence[int | None], share: float) -> int | None:
    """The quantile, runs that never reject counting as longest."""
    if not lengths:
        return None
    ordered = sorted(lengths, key=lambda one: LONGEST_RUN + 1 if one is None else one)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def upper_bound(events: int, trials: int) -> float:
    """The 95 % upper bound of a rate; 1 when more was seen than the table goes."""
    if events not in _UPPER_BOUNDS or not trials:
        return 1.0
    return min(1.0, _UPPER_BOUNDS[events] / trials)
