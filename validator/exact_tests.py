"""Exact tests on small samples: p-values as ratios of whole numbers, the same bits on every machine.

Each counts how many of the equally likely arrangements are at least as extreme as the one that was seen. No
normal approximation, no table of limits: the smallest p-value that a sample can give is stated with it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import comb

LOW_PART = 8
"""The limit of a small level is looked for in so large a part of all counts first."""


def rank_sum(inside: Sequence[float], outside: Sequence[float]) -> int:
    """The Mann-Whitney count: pairs (one of `inside`, one of `outside`) whose first is not the smaller.

    Equal values count whole, which makes `inside` look larger than it is: the test stays valid with ties.
    """
    ordered = sorted(outside)
    return sum(bisect_right(ordered, value) for value in inside)


def rank_sum_p_value(inside: Sequence[float], outside: Sequence[float]) -> float:
    """Chance of a count as small as `rank_sum`'s when every split of the values is equally likely.

    Small when the values of `inside` are the smaller ones (H. B. Mann and D. R. Whitney, 1947; one-sided). 1
    when a side is empty.
    """
    below = _below(*sorted((len(inside), len(outside))))
    return below[rank_sum(inside, outside)] / below[-1]


def most_extreme_p_value(inside: int, outside: int) -> float:
    """The smallest p-value that `rank_sum_p_value` can give for so many values on each side."""
    return 1 / comb(inside + outside, inside)


def rank_sum_limit(inside: int, outside: int, level: float) -> int:
    """The largest count whose p-value is at most `level`; −1 when none is."""
    return _limit(*sorted((inside, outside)), level)


@lru_cache(maxsize=4096)
def _limit(fewer: int, more: int, level: float) -> int:
    """Found without the counts that are far above it: a small level is reached early."""
    splits, reach = comb(fewer + more, fewer), max(1, fewer * more // LOW_PART)
    while True:
        ways = [1] + [0] * min(reach, fewer * more)
        _merge(ways, fewer, more)
        below = list(accumulate(ways))
        limit = bisect_left(range(len(below)), True, key=lambda count: below[count] / splits > level)
        if limit < len(below) or reach >= fewer * more:
            return limit - 1
        reach *= 2


@lru_cache(maxsize=4096)
def _below(fewer: int, more: int) -> Sequence[int]:
    """Of all splits, how many have a count of at most 0, 1, …: sums of the Gaussian binomial coefficient."""
    ways = [1] + [0] * (fewer * more)
    _merge(ways, fewer, more)
    return tuple(accumulate(ways))


def _merge(ways: list[int], fewer: int, more: int) -> None:
    """Multiply by the Gaussian binomial coefficient of so many and so many more, as far as `ways` reaches.

    It is the product over k = 1 … fewer of (1 − q^(more + k)) ÷ (1 − q^k).
    """
    for step in range(1, fewer + 1):
        for place in range(len(ways) - 1, more + step - 1, -1):
            ways[place] -= ways[place - more - step]
        for place in range(step, len(ways)):
            ways[place] += ways[place - step]


def fisher_p_value(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Chance of at least `both` joint events when the two kinds are independent.

    R. A. Fisher's exact test, one-sided: with the margins given, `both` is hypergeometric.
    """
    first, second = both + only_first, both + only_second
    total = first + only_second + neither
    ways = sum(
        comb(first, joint) * comb(total - first, second - joint)
        for joint in range(both, min(first, second) + 1)
    )
    return ways / comb(total, second)
