"""Exact tests on small samples: p-values as ratios of whole numbers, the same bits on every machine.

Each counts how many of the equally likely arrangements are at least as extreme as the one that was seen. No
normal approximation, no table of limits: the smallest p-value that a sample can give is stated with it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import comb


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
    below = _below(*sorted((inside, outside)))
    return bisect_left(range(len(below)), True, key=lambda count: below[count] / below[-1] > level) - 1


@lru_cache(maxsize=4096)
def _below(fewer: int, more: int) -> Sequence[int]:
    """Of all splits, how many have a count of at most 0, 1, …: sums of the Gaussian binomial coefficient."""
    ways = [1] + [0] * (fewer * more)
    _merge(ways, fewer, more)
    return tuple(accumulate(ways))


def trend_p_value(groups: Sequence[Sequence[float]]) -> float:
    """Chance that values rise so little from group to group when every order of them is equally likely.

    Small when later groups have the smaller values (the test of A. R. Jonckheere, 1954, and T. J. Terpstra,
    1952; one-sided): the count is the sum of `rank_sum` over pairs of groups. How many arrangements have a
    count of 0, 1, … is the Gaussian multinomial coefficient, the product of the binomial ones of groups that
    are merged in turn. With two groups it is `rank_sum_p_value(groups[1], groups[0])`.
    """
    count = sum(rank_sum(later, earlier) for place, later in enumerate(groups) for earlier in groups[:place])
    ways, orders, merged = [1] + [0] * count, 1, 0
    for group in groups:
        _merge(ways, len(group), merged)
        merged += len(group)
        orders *= comb(merged, len(group))
    return sum(ways) / orders


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


def sign_test_p_value(successes: int, trials: int) -> float:
    """Chance of at least so many heads in so many throws of a fair coin."""
    return sum(comb(trials, heads) for heads in range(successes, trials + 1)) / (1 << trials)
