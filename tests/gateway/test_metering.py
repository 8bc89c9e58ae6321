from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MinerFailure
from gateway.metering import Tally
from shared.receipts import MAX_TOKENS


def delta(index: int, text: str, *ids: int, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": text}, "token_ids": list(ids), "finish_reason": finish}
    return {"choices": [choice]}


def prompt(*ids: int) -> dict[str, Any]:
    role = {"index": 0, "delta": {"role": "assistant", "content": ""}}
    return {"choices": [role], "prompt_token_ids": list(ids)}


def test_tokens_are_counted_from_ids_and_not_from_events_or_usage() -> None:
    tally = Tally()
    tally.add(prompt(1, 2), 1.0)
    tally.add(delta(0, "a b c", 10, 11, 12), 2.0)
    tally.add(delta(0, ""), 3.0)
    tally.add({"choices": [], "usage": {"completion_tokens": 9999}}, 4.0)
    assert (tally.prompt_tokens, tally.output_tokens) == (2, 3)


def test_the_first_token_is_timed_and_the_role_before_it_is_not() -> None:
    tally = Tally()
    tally.add(prompt(1), 1.0)
    assert tally.first_token_at_s is None
    tally.add(delta(0, "a", 10), 2.5)
    tally.add(delta(0, "b", 11), 3.5)
    assert tally.first_token_at_s == 2.5


def test_choices_are_kept_apart() -> None:
    tally = Tally()
    tally.add(prompt(1, 2), 1.0)
    tally.add(delta(1, "x", 20), 1.0)
    tally.add(delta(0, "a", 10), 1.0)
    tally.add(delta(1, "y", 21, finish="stop"), 1.0)
    first, second = tally.choices()
    assert (first.index, first.output_token_ids, first.finish_reason) == (0, (10,), None)
    assert (second.index, second.output_token_ids, second.finish_reason) == (1, (20, 21), "stop")
    assert first.prompt_token_ids == second.prompt_token_ids == (1, 2)


def test_completions_have_prompt_ids_in_each_choice() -> None:
    tally = Tally()
    for index, ids in enumerate([[1], [2, 3]]):
        choice = {"index": index, "text": "t", "prompt_token_ids": ids, "token_ids": [9]}
        tally.add({"choices": [choice]}, 1.0)
    assert [choice.prompt_token_ids for choice in tally.choices()] == [(1,), (2, 3)]
    tally.check_complete()


def test_prompt_ids_that_come_twice_do_not_change() -> None:
    tally = Tally()
    tally.add(prompt(1, 2), 1.0)
    tally.add(prompt(3, 4), 1.0)
    assert tally.choices()[0].prompt_token_ids == (1, 2)


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [{}]},
        {"choices": [{"index": -1}]},
        {"choices": [{"index": 128}]},
        {"choices": [{"index": True}]},
        {"choices": [{"index": 0, "token_ids": "ab"}]},
        {"choices": [{"index": 0, "token_ids": [-1]}]},
        {"choices": [{"index": 0, "token_ids": [1 << 32]}]},
        {"choices": [{"index": 0, "token_ids": [1.0]}]},
        {"choices": [{"index": 0, "token_ids": [True]}]},
        {"choices": [{"index": 0, "token_ids": {"0": 1}}]},
        {"choices": [{"index": 0}], "prompt_token_ids": [None]},
        {"choices": [{"index": 0, "prompt_token_ids": 5}]},
    ],
)
def test_nonsense_is_a_failure_of_the_miner(payload: dict[str, Any]) -> None:
    with pytest.raises(MinerFailure):
        Tally().add(payload, 1.0)


def test_more_tokens_than_a_record_can_hold_are_refused_and_not_counted() -> None:
    tally = Tally()
    tally.add(delta(0, "a", *([1] * MAX_TOKENS)), 1.0)
    with pytest.raises(MinerFailure, match="more than"):
        tally.add(delta(0, "a", 1), 1.0)
    assert tally.output_tokens == MAX_TOKENS


def test_an_answer_without_choices_prompt_or_ids_is_not_complete() -> None:
    with pytest.raises(MinerFailure, match="no choices"):
        Tally().check_complete()
    without_prompt = Tally()
    without_prompt.add(delta(0, "a", 1), 1.0)
    with pytest.raises(MinerFailure, match="prompt_token_ids"):
        without_prompt.check_complete()
    without_ids = Tally()
    without_ids.add(prompt(1), 1.0)
    without_ids.add(delta(0, "words"), 1.0)
    with pytest.raises(MinerFailure, match="no token_ids"):
        without_ids.check_complete()


def test_an_empty_answer_is_complete() -> None:
    tally = Tally()
    tally.add(prompt(1), 1.0)
    tally.check_complete()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CHOICE = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("index", "delta", "token_ids", "prompt_token_ids", "text"), ANYTHING)
)


@given(st.fixed_dictionaries({"choices": st.lists(CHOICE | ANYTHING, max_size=3)}))
def test_whatever_a_miner_sends_can_be_recorded_or_is_its_failure(payload: dict[str, Any]) -> None:
    tally = Tally()
    try:
        tally.add(payload, 1.0)
        tally.check_complete()
    except MinerFailure:
        pass
    assert sum(len(choice.output_token_ids) for choice in tally.choices()) == tally.output_tokens
