"""Held against counting all arrangements by hand."""

import random
from collections.abc import Sequence
from itertools import combinations, permutations
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.exact_tests import (
    fisher_p_value,
    most_extreme_p_value,
    rank_sum,
    rank_sum_limit,
    rank_sum_p_value,
    sign_test_p_value,
    trend_p_value,
)

SIDE = st.lists(st.integers(0, 12).map(float), max_size=5)


def counted(inside: list[float], outside: list[float]) -> float:
    """The share of splits of distinct values whose count is as small."""
    values = range(len(inside) + len(outside))
    seen = rank_sum(inside, outside)
    splits = list(combinations(values, len(inside)))
    small = sum(
        rank_sum(list(map(float, one)), [float(v) for v in values if v not in one]) <= seen for one in splits
    )
    return small / len(splits)


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE)
def test_rank_sums_are_counted_exactly(inside: list[float], outside: list[float]) -> None:
    assert rank_sum_p_value(inside, outside) == pytest.approx(counted(inside, outside), abs=1e-12)


def test_only_smaller_values_inside_are_extreme() -> None:
    small, large = [1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]
    assert rank_sum_p_value(small, large) == 1 / 70 == most_extreme_p_value(4, 4)
    assert rank_sum_p_value(large, small) == 1.0
    assert rank_sum_p_value([], large) == rank_sum_p_value(small, []) == 1.0


def test_ties_speak_for_the_null_hypothesis() -> None:
    assert rank_sum_p_value([0.0] * 5, [0.0] * 5) == 1.0
    assert rank_sum_p_value([0.0, 0.0], [0.0, 1.0, 2.0]) > rank_sum_p_value([0.0, 0.0], [0.5, 1.0, 2.0])


@pytest.mark.parametrize("sizes", [(3, 4), (8, 8), (12, 11), (1, 30), (0, 5)])
@pytest.mark.parametrize("level", [0.2, 1e-2, 1e-4])
def test_the_limit_is_the_largest_count_within_the_level(sizes: tuple[int, int], level: float) -> None:
    limit = rank_sum_limit(*sizes, level)
    p_values = [
        rank_sum_p_value(*_with_count(count, *sizes)) for count in range(sizes[0] * sizes[1] + 1)
    ]  # fmt: skip
    assert sum(p_value <= level for p_value in p_values) == limit + 1


def _with_count(count: int, inside: int, outside: int) -> tuple[list[float], list[float]]:
    """Values with exactly this count: each of `inside` stands above so many of `outside`."""
    rows = [min(outside, max(0, count - row * outside)) for row in range(inside)]
    return [row - 0.5 for row in rows], [float(place) for place in range(outside)]


def test_p_values_of_chance_are_no_smaller_than_chance_allows() -> None:
    chance = random.Random(3)
    p_values = [
        rank_sum_p_value([chance.random() for _ in range(9)], [chance.random() for _ in range(11)])
        for _ in range(4000)
    ]
    for level in (0.01, 0.05, 0.2):
        share = sum(p_value <= level for p_value in p_values) / len(p_values)
        assert share <= level + 4 * (level / len(p_values)) ** 0.5


def test_fisher_counts_the_joint_arrangements() -> None:
    first, second, total = 3, 4, 9
    places = list(combinations(range(total), second))
    for both in range(4):
        share = sum(len(set(one) & set(range(first))) >= both for one in places) / len(places)
        assert fisher_p_value(
            both, first - both, second - both, total - first - second + both
        ) == pytest.approx(share)


def test_fisher_says_nothing_without_events() -> None:
    assert fisher_p_value(0, 0, 0, 10) == fisher_p_value(0, 3, 2, 10) == 1.0


def test_the_sign_test_counts_throws() -> None:
    assert [sign_test_p_value(heads, 3) for heads in range(4)] == [1.0, 7 / 8, 4 / 8, 1 / 8]
    assert sign_test_p_value(40, 60) == sum(comb(60, n) for n in range(40, 61)) / 2**60


def test_order_changes_no_bit() -> None:
    values = [0.3, 0.1, 0.2]
    assert len({rank_sum_p_value(one, [0.15, 0.25]) for one in map(list, permutations(values))}) == 1


def test_trends_are_counted_exactly() -> None:
    groups = [[2.0, 5.0], [1.0], [0.5, 4.0]]
    values = [value for group in groups for value in group]

    def count(order: Sequence[float]) -> int:
        split = [order[:2], order[2:3], order[3:]]
        return sum(rank_sum(split[later], split[first]) for later in range(3) for first in range(later))

    orders = list(permutations(values))
    share = sum(count(order) <= count(values) for order in orders) / len(orders)
    assert trend_p_value(groups) == pytest.approx(share)


@settings(max_examples=40, deadline=None)
@given(SIDE, SIDE)
def test_a_trend_over_two_groups_is_the_rank_sum(inside: list[float], outside: list[float]) -> None:
    assert trend_p_value([outside, inside]) == rank_sum_p_value(inside, outside)


def test_a_falling_trend_is_extreme_and_a_rising_one_is_not() -> None:
    falling = [[8.0, 9.0], [6.0, 7.0], [4.0, 5.0]]
    assert trend_p_value(falling) == 1 / 90
    assert trend_p_value(falling[::-1]) == 1.0
    assert trend_p_value([]) == trend_p_value([[1.0]]) == 1.0
