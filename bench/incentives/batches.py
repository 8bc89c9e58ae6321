"""The standard error of a strategy's income, by the means of batches of epochs.

Rates average up to twelve epochs (`ScoringConfig.work_window`), so that what luck leaves of one epoch is in
eleven more: epochs of a run are not independent, and an error by their differences is too small. Batches at
least as long as that average nearly are (Law, Simulation Modeling and Analysis, 5th edition, section 9.5.3).
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

SHORTEST_BATCH = 12
"""Epochs: as many as a rate averages."""

MOST_BATCHES = 4
"""Longer runs have longer batches, not more: neighbours depend on each other the less, and Student's t, wide
with few, is right. Of rows that earn exactly 1, and whose epochs are averages over twelve, one in 400 or
fewer then seems to pay (`tests/bench/test_incentives_batches.py`)."""

CERTAIN_ERRORS = 3.0
"""How sure it must be that a strategy pays, in standard errors of a normal distribution: one row in 740."""


def batches_of(epochs: int) -> int:
    """How many batches a run of so many epochs has; with fewer than two there is no error to tell."""
    return min(MOST_BATCHES, epochs // SHORTEST_BATCH)


def batch_error(own: Sequence[float], honest: Sequence[float]) -> float | None:
    """Standard error of Σ own ÷ Σ honest, as a ratio's is estimated; None when the run is too short.

    Args:
        own: income epoch by epoch; `honest` what it is compared with in the same epochs.
    """
    count = batches_of(len(own))
    if count < 2:
        return None
    ratio = sum(own) / sum(honest)
    differences = [mine - theirs * ratio for mine, theirs in zip(own, honest, strict=True)]
    edges = [len(own) * number // count for number in range(count + 1)]
    sums = [sum(differences[start:end]) for start, end in pairwise(edges)]
    return math.sqrt(sum(one * one for one in sums) * count / (count - 1)) / sum(honest)


def certain_errors(batches: int) -> float:
    """So many of its errors must an income be above 1: Student's t with `batches` − 1 degrees of freedom."""
    wanted, low, high = 2 * NormalDist().cdf(CERTAIN_ERRORS) - 1, 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, batches - 1) < wanted else (low, middle)
    return high


def _within(bound: float, freedom: int) -> float:
    """P(|t| ≤ bound), for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    angle = math.atan(bound / math.sqrt(freedom))
    squared = math.cos(angle) ** 2
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for step in range(freedom // 2):
        total += term
        term *= squared * (2 * step + 1 + odd) / (2 * step + 2 + odd)
    inner = math.sin(angle) * total
    return 2 / math.pi * (angle + inner) if odd else inner
