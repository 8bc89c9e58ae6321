"""What the margins of an answer's tokens say: a likelihood ratio against several kinds of cheats.

Each output token's margin falls into one of the classes of `shared.honest_noise.MARGIN_EDGES`; how often an
honest token falls into each is in the calibration file. Against it stand alternatives in which tokens
miss more often and by more, their margins exponentially distributed. The statistic is the mean over the
alternatives of the product over tokens of alternative / honest probability. Honest tokens are not quite
independent of each other, so what the statistic is at honest miners is measured like every other one.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from shared.honest_noise import MARGIN_EDGES, HonestMargins

ALTERNATIVES = ((2.0, 2.0), (3.0, 5.0), (10.0, 25.0), (20.0, 75.0), (1.0, 75.0))
"""(times as many misses, times the mean margin of a miss) of the kinds of cheats that are looked for: about
what 8-bit weights, coarse 8-bit floats, 4-bit weights, and another seed or model show on the demo model
(docs/DETECTION.md); and a text in which single tokens were exchanged. They decide only how fast a cheat is
seen, never whether an honest miner is."""

MOST_MISSES = 0.6
"""Upper bound on an alternative's share of misses: even an unrelated sampler often draws the same token."""

LARGEST_LOG = 230.0
"""Bound on the logarithm: scores stay finite."""


def margin_classes(margins: Sequence[float], unit: float) -> list[int]:
    """How many margins lie in each class: exact, then (edge, next edge] in units, the last one open."""
    counts = [0] * (len(MARGIN_EDGES) + 1)
    for margin in margins:
        counts[sum(margin > edge * unit for edge in MARGIN_EDGES)] += 1
    return counts


def token_score(margins: Sequence[float], honest: HonestMargins) -> float:
    """The likelihood ratio; 1 when there is no token.

    Args:
        margins: of every checked output token, ≥ 0, in logit units.
    """
    counts = margin_classes(margins, honest.unit)
    expected = _class_probabilities(honest.above)
    logarithms = [
        sum(
            count * math.log(theirs / ours)
            for count, theirs, ours in zip(counts, _alternative(honest, *kind), expected, strict=True)
        )
        for kind in ALTERNATIVES
    ]
    largest = max(logarithms)
    spread = sum(math.exp(one - largest) for one in logarithms) / len(logarithms)
    return math.exp(min(LARGEST_LOG, largest + math.log(spread)))


def _class_probabilities(above: Sequence[float]) -> list[float]:
    """Probability of each class from the shares above each edge."""
    return [1 - above[0], *(left - right for left, right in pairwise(above)), above[-1]]


def _alternative(honest: HonestMargins, more: float, larger: float) -> list[float]:
    misses = min(MOST_MISSES, more * honest.above[0])
    return _class_probabilities([misses * math.exp(-edge / larger) for edge in MARGIN_EDGES])
