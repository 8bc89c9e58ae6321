from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.prefix_cache import TokenIds, common_length
from shared.reference_batches import Family, PassCosts, find_families, split_by_length

COSTS = PassCosts(overhead_tokens=4, budget_tokens=32)


def ids(*tokens: int) -> TokenIds:
    return np.array(tokens, dtype=np.int64)


def families(sequences: Sequence[Sequence[int]], costs: PassCosts = COSTS) -> list[tuple[set[int], int]]:
    found = find_families([ids(*tokens) for tokens in sequences], costs)
    return [(set(family.members), family.stem) for family in found]


PROMPT = [1, 2, 3, 4, 5, 6, 7, 8]

few_tokens = st.lists(st.integers(0, 1), min_size=1, max_size=24)


def test_choices_of_one_prompt_share_it() -> None:
    assert families([[*PROMPT, 10], [*PROMPT, 11, 12], [*PROMPT, 9]]) == [({0, 1, 2}, len(PROMPT))]


def test_strangers_share_nothing() -> None:
    assert families([[1, *PROMPT], [2, *PROMPT]]) == [({0}, 0), ({1}, 0)]


def test_a_beginning_that_costs_a_pass_and_saves_less_is_not_shared() -> None:
    assert families([[1, 2, 3, 4, 9], [1, 2, 3, 4, 8]]) == [({1}, 0), ({0}, 0)]
    assert families([[1, 2, 3, 4, 5, 9], [1, 2, 3, 4, 5, 8]]) == [({0, 1}, 5)]


def test_two_prompts_of_several_choices_stay_apart_when_they_share_only_a_little() -> None:
    other = [1, 2, 3, 44, 45, 46, 47, 48]
    found = families([[*PROMPT, 10], [*other, 10], [*PROMPT, 11], [*other, 11]])
    assert found == [({0, 2}, 8), ({1, 3}, 8)]


def test_equal_sequences_keep_their_last_token_outside_the_stem() -> None:
    assert families([PROMPT, PROMPT]) == [({0, 1}, len(PROMPT) - 1)]


def test_a_sequence_that_another_goes_on_from_keeps_its_last_token_outside_the_stem() -> None:
    assert families([PROMPT, [*PROMPT, 10, 11]]) == [({0, 1}, len(PROMPT) - 1)]


@given(st.lists(few_tokens, max_size=8), st.integers(0, 12))
def test_every_sequence_is_in_one_family_whose_stem_it_begins_with(
    sequences: list[list[int]], overhead: int
) -> None:
    costs = PassCosts(overhead, 32)
    arrays = [ids(*tokens) for tokens in sequences]
    found = find_families(arrays, costs)
    assert sorted(index for family in found for index in family.members) == list(range(len(sequences)))
    for family in found:
        first = arrays[family.members[0]]
        for member in family.members:
            assert family.stem < len(arrays[member])
            assert common_length(first, arrays[member]) >= family.stem
        assert family.stem == 0 or family.saved_tokens > overhead


def test_a_family_of_one_saves_nothing() -> None:
    assert Family((3,), 0).saved_tokens == 0
    assert Family((3, 4, 5), 10).saved_tokens == 20


@given(st.lists(st.integers(1, 40), max_size=30))
def test_batches_hold_every_sequence_once_within_budget_and_padding(lengths: list[int]) -> None:
    batches = split_by_length(lengths, COSTS)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= COSTS.budget_tokens
        assert all(longest - lengths[index] <= COSTS.overhead_tokens for index in batch)


@pytest.mark.parametrize(
    ("lengths", "batches"),
    [
        ([8, 8, 8, 8], [[0, 1, 2, 3]]),
        ([8, 8, 8, 8, 8], [[0, 1, 2, 3], [4]]),
        ([40, 8, 8], [[0], [1, 2]]),
        ([8, 3], [[0], [1]]),
        ([8, 4], [[0, 1]]),
        ([], []),
    ],
)
def test_sequences_of_like_length_are_computed_together(lengths: list[int], batches: list[list[int]]) -> None:
    assert split_by_length(lengths, COSTS) == batches
