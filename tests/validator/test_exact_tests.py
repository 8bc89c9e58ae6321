"""Held against counting all arrangements by hand."""

import random
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from validator.exact_tests import (
    fisher_p_value,
    most_extreme_p_value,
    rank_sum,
    rank_sum_limit,
    rank_sum_p_value,
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


def test_order_changes_no_bit() -> None:
    values = [0.3, 0.1, 0.2]
    assert len({rank_sum_p_value(one, [0.15, 0.25]) for one in map(list, permutations(values))}) == 1


@pytest.mark.parametrize("level", [1e-9, 1e-4, 0.3, 1.0])
@pytest.mark.parametrize("sides", [(1, 1), (3, 5), (12, 30), (36, 36)])
def test_the_limit_is_the_last_count_within_the_level(sides: tuple[int, int], level: float) -> None:
    inside, outside = sides
    limit = rank_sum_limit(inside, outside, level)
    assert -1 <= limit <= inside * outside
    assert limit < 0 or _p_value(limit, inside, outside) <= level
    assert limit == inside * outside or _p_value(limit + 1, inside, outside) > level


def _p_value(count: int, inside: int, outside: int) -> float:
    """Of values with that count: each of `inside` is above so many of `outside`."""
    above, rest = divmod(count, inside)
    places = [above + (place < rest) - 0.5 for place in range(inside)]
    return rank_sum_p_value(places, [float(place) for place in range(outside)])
