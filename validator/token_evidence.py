"""What an answer's output tokens say: an e-value against the miner's honesty.

Given the reference's logits, an honest miner's token is the one that the reference draws, or one that
numerical noise put in its place: the larger its margin, the less likely (`HonestMargins.above`). An
alternative gives every token a probability of its own. So

    e = Π over tokens of  alternative's probability ÷ the most that an honest miner's can be,

where the divisor is 1 for the token that the reference draws too, and above[i] for one whose margin is above
MARGIN_EDGES[i]. Its mean is at most 1 at an honest miner, because the alternative's probabilities sum to 1,
and so is that of the mean over alternatives, whatever they are (Vovk & Wang 2021). Tokens depend on each
other only through the text so far, which is given. Some alternatives give probabilities to classes of margins
only: above[i] bounds that of the whole class, whichever token it is.
"""

import math
from collections.abc import Sequence

from shared.honest_noise import MARGIN_EDGES, HonestMargins
from validator.verdicts import TokenCheck

CUTS = (2.0**-6, 2.0**-4, 2.0**-2, 1.0)
LARGE_SHARES = (0.03, 0.15, 0.5)
"""Alternatives by margins alone, which fit other models and edited texts, whatever their logits are: so large
a share of tokens has a margin above the cut, half of these in the first class above it, half of the rest in
the next, and so on. Below the cut nothing is told apart: small misses are anybody's."""

NAMED_SHARE = 0.5
"""Weight of the alternatives of `validator/sampler_alternatives.py`; those by margins have the rest."""

LARGEST_LOG = 230.0
"""Bound on the logarithm of an e-value: scores stay finite."""


def _margins_name(cut: float, share: float) -> str:
    return f"with {share:.0%} of tokens off by {cut:.2g} logits or more"


MARGIN_NAMES = tuple(_margins_name(cut, share) for cut in CUTS for share in LARGE_SHARES)
"""Of the alternatives by margins alone."""


def missed_by_class(margins: Sequence[float]) -> tuple[int, ...]:
    """How many margins lie in each class above 0: (edge, next edge], the last one open."""
    counts = [0] * len(MARGIN_EDGES)
    for margin in margins:
        if margin > 0:
            counts[sum(margin > edge for edge in MARGIN_EDGES) - 1] += 1
    return tuple(counts)


def token_score(tokens: TokenCheck, honest: HonestMargins) -> float:
    """The e-value of an answer's tokens; 1 when none was checked."""
    if not tokens.checked:
        return 1.0
    named, by_margins = _named(tokens, honest), _by_margins(tokens, honest)
    groups = [(NAMED_SHARE, list(named.values())), (1 - NAMED_SHARE, list(by_margins.values()))]
    whole = sum(share for share, logs in groups if logs)
    weighed = [(share / whole / len(logs), one) for share, logs in groups for one in logs]
    largest = max(one for _, one in weighed)
    mean = sum(share * math.exp(one - largest) for share, one in weighed)
    return math.exp(min(LARGEST_LOG, largest + math.log(mean)))


def best_explanation(tokens: TokenCheck, honest: HonestMargins) -> str:
    """The alternative that explains the tokens best, in words that fit after "drawn"."""
    ratios = log_ratios(tokens, honest)
    return max(ratios, key=lambda name: ratios[name])


def log_ratios(tokens: TokenCheck, honest: HonestMargins) -> dict[str, float]:
    """The logarithm of each alternative's likelihood ratio, by its name."""
    return _named(tokens, honest) | _by_margins(tokens, honest)


def _named(tokens: TokenCheck, honest: HonestMargins) -> dict[str, float]:
    honest_log = _honest_log(tokens, honest, 0)
    return {one.name: one.log_likelihood - honest_log for one in tokens.alternatives}


def _by_margins(tokens: TokenCheck, honest: HonestMargins) -> dict[str, float]:
    return {
        _margins_name(cut, share): _log_ratio_above(tokens, honest, MARGIN_EDGES.index(cut), share)
        for cut in CUTS
        for share in LARGE_SHARES
    }


def _log_ratio_above(tokens: TokenCheck, honest: HonestMargins, first: int, share: float) -> float:
    """Of the counts from class number `first` on, everything below it being one outcome."""
    large = tokens.missed[first:]
    weights = [0.5 ** (number + 1) for number in range(len(MARGIN_EDGES) - first)]
    classes = [share * weight / sum(weights) for weight in weights]
    found = sum(count * math.log(one) for count, one in zip(large, classes, strict=False))
    rest = (tokens.checked - sum(large)) * math.log(1 - share)
    return rest + found - _honest_log(tokens, honest, first)


def _honest_log(tokens: TokenCheck, honest: HonestMargins, first: int) -> float:
    """The logarithm of the most that an honest miner's probability of these misses can be."""
    above = honest.above[first:]
    return sum(count * math.log(bound) for count, bound in zip(tokens.missed[first:], above, strict=False))
