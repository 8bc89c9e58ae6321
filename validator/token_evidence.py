"""What an answer's output tokens say: an e-value against the miner's honesty.

Given the reference's logits, an honest miner's token is the one that the reference draws, or one that
numerical noise put in its place: the larger its margin, the less likely (`HonestMargins.above`). An
alternative gives every token a probability of its own. So

    e = Π over tokens of  alternative's probability ÷ the most that an honest miner's can be,

where the divisor is 1 for the token that the reference draws too, and above[i] for one whose margin is above
MARGIN_EDGES[i]. Its mean is at most 1 at an honest miner, because the alternative's probabilities sum to 1,
and so is that of the mean over alternatives, whatever they are (Vovk & Wang 2021). Tokens depend on each
other only through the text so far, which is given.
"""

import math
from collections.abc import Sequence

from shared.honest_noise import MARGIN_EDGES, HonestMargins
from validator.verdicts import TokenCheck

EXCHANGED = "with single tokens exchanged"
EXCHANGED_SHARE = 0.05
EXCHANGED_ABOVE = 0.25
"""One more alternative, by margins alone: one token in twenty was exchanged, its margin in any of the classes
above this many logits."""

SMALL_MISSES = 0.02
"""Share of smaller misses under that alternative: numerical noise like anybody's."""

LARGEST_LOG = 230.0
"""Bound on the logarithm of an e-value: scores stay finite."""


def missed_by_class(margins: Sequence[float]) -> tuple[int, ...]:
    """How many margins lie in each class above 0: (edge, next edge], the last one open."""
    counts = [0] * len(MARGIN_EDGES)
    for margin in margins:
        if margin > 0:
            counts[sum(margin > edge for edge in MARGIN_EDGES) - 1] += 1
    return tuple(counts)


def token_score(tokens: TokenCheck, honest: HonestMargins) -> float:
    """The e-value of an answer's tokens; 1 when none was checked."""
    ratios = log_ratios(tokens, honest)
    largest = max(ratios.values())
    mean = sum(math.exp(one - largest) for one in ratios.values()) / len(ratios)
    return math.exp(min(LARGEST_LOG, largest + math.log(mean)))


def best_explanation(tokens: TokenCheck, honest: HonestMargins) -> str:
    """The alternative that explains the tokens best, in words that fit after "drawn"."""
    ratios = log_ratios(tokens, honest)
    return max(ratios, key=lambda name: ratios[name])


def log_ratios(tokens: TokenCheck, honest: HonestMargins) -> dict[str, float]:
    """The logarithm of each alternative's likelihood ratio, by its name."""
    honest_log = sum(
        count * math.log(above) for count, above in zip(tokens.missed, honest.above, strict=False)
    )
    found = {one.name: one.log_likelihood - honest_log for one in tokens.alternatives}
    found[EXCHANGED] = _log_exchanged(tokens) - honest_log
    return found


def _log_exchanged(tokens: TokenCheck) -> float:
    classes = [edge >= EXCHANGED_ABOVE for edge in MARGIN_EDGES]
    rest = SMALL_MISSES / (len(classes) - sum(classes))
    each = EXCHANGED_SHARE / sum(classes)
    small = sum(count for count, large in zip(tokens.missed, classes, strict=False) if not large)
    large = sum(tokens.missed) - small
    exact = math.log(1 - EXCHANGED_SHARE - SMALL_MISSES) * tokens.exact
    return exact + small * math.log(rest) + large * math.log(each)
