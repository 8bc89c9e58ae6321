"""How many audits the best single bet needs: by who knew what to look for, and how much to stake.

A test that rejects honest miners at most once in A audits by betting on one explanation needs ln A ÷ g
audits of a cheat on average (Wald 1945; Lorden 1971 for tests that begin anew at every audit), where g is
the mean logarithm of what a stake s on the explanation's likelihood ratio brings in an audit,
ln (1 − s + s × ratio). The best s is 1 where every audit shows the cheat, and g then the ratio's
Kullback-Leibler divergence: no test of these audits can do with fewer. Of a cheat that only some answers
show it is less, and a test that knew which ones would need fewer. Ratios count against the most that an
honest miner's probability can be, so the true g is somewhat larger where honest miners are closer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from validator.evidence_families import WEIGHTS, family_words
from validator.scoring_config import ScoringConfig
from validator.verdicts import Verdict

SMALLEST_LOG = -100.0
"""Of a ratio that is zero to six digits: the mean stays a number."""

STAKES = tuple(number / 32 for number in range(1, 33))
"""Stakes that are looked at."""

SUM_OF_WEIGHTS = 2.0
"""Of the sequential test's bettors (`validator/sequential_test.py`): its limit is that many times A."""


@dataclass(frozen=True)
class AtBest:
    """What the best explanation of a row has in it.

    Attributes:
        family: in words.
        stake: the best one.
        nats: mean logarithm of what it brings in an audit.
        audits: that this bet needs on average; at least one.
    """

    family: str
    stake: float
    nats: float
    audits: float


def at_best(verdicts: Sequence[Verdict], config: ScoringConfig) -> AtBest | None:
    """The bound of one row; None where no explanation beats honesty."""
    decided = [one for one in verdicts if one.outcome != "inconclusive"]
    if not decided:
        return None
    bets = ((name, stake) for name in WEIGHTS for stake in STAKES)
    nats, best, stake = max(
        (_growth(decided, name, stake) / len(verdicts), name, stake) for name, stake in bets
    )
    if nats <= 0:
        return None
    needed = (config.reject_log_evidence - math.log(SUM_OF_WEIGHTS)) / nats
    return AtBest(_words(decided, best), stake, nats, max(1.0, needed))


def _growth(decided: Sequence[Verdict], family: str, stake: float) -> float:
    return sum(
        _nats(one, family) if stake == 1 else math.log(1 - stake + stake * math.exp(_nats(one, family)))
        for one in decided
    )


def _nats(verdict: Verdict, family: str) -> float:
    """A failed exact check and silence speak for every family alike."""
    if not verdict.evidence:
        return verdict.log_e
    ratio = verdict.ratios.get(family, 1.0)
    return max(SMALLEST_LOG, math.log(ratio)) if ratio > 0 else SMALLEST_LOG


def _words(decided: Sequence[Verdict], family: str) -> str:
    """Where exact checks alone have decided, no family has."""
    return family_words(family) if any(family in one.ratios for one in decided) else "exact checks"
