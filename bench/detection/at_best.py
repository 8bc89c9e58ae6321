"""How many audits any sequential test needs at least, from what the audits of a row have in them.

A test that rejects honest miners at most once in A audits needs ln A ÷ KL audits of a cheat on average,
however it is made (Wald 1945; for tests that begin anew at every audit Lorden 1971). KL is the mean logarithm
of an audit's likelihood ratio, estimated by the family that explains the row best: of a test that had known
beforehand which one that is, and had bet on it alone. Ratios count against the most that an honest miner's
probability can be, so the true KL is somewhat larger where honest miners are closer to the reference.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from validator.evidence_families import WEIGHTS, family_words
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

SMALLEST_LOG = -100.0
"""Of a ratio that is zero to six digits: the mean stays a number."""

SUM_OF_WEIGHTS = 2.0
"""Of the sequential test's bettors (`validator/sequential_test.py`): its limit is that many times A."""


@dataclass(frozen=True)
class AtBest:
    """What the best explanation of a row has in it.

    Attributes:
        family: in words.
        nats: mean logarithm of its ratio in an audit.
        audits: that any test needs on average; at least one.
    """

    family: str
    nats: float
    audits: float


def at_best(verdicts: Sequence[Verdict], config: ScoringConfig) -> AtBest | None:
    """The bound of one row; None where no explanation beats honesty."""
    decided = [one for one in verdicts if one.outcome != "inconclusive"]
    if not decided:
        return None
    means = {name: sum(_nats(one, name) for one in decided) / len(verdicts) for name in WEIGHTS}
    best = max(means, key=lambda name: means[name])
    if means[best] <= 0:
        return None
    needed = (config.reject_log_evidence - math.log(SUM_OF_WEIGHTS)) / means[best]
    return AtBest(_words(decided, best), means[best], max(1.0, needed))


def _nats(verdict: Verdict, family: str) -> float:
    """A failed exact check and silence speak for every family alike."""
    if not verdict.evidence:
        return verdict.log_e
    ratio = verdict.ratios.get(family, 1.0)
    return max(SMALLEST_LOG, math.log(ratio)) if ratio > 0 else SMALLEST_LOG


def _words(decided: Sequence[Verdict], family: str) -> str:
    """Where exact checks alone have decided, no family has."""
    return family_words(family) if any(family in one.ratios for one in decided) else "exact checks"
