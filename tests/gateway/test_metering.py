from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MinerFailure
from gateway.metering import Tally
from shared.answer_text import TextPlace
from shared.canonical import sha256_hex
from shared.receipts import MAX_TOKENS


def delta(index: int, text: str, *ids: int, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": index, "delta": {"content": text}, "token_ids": list(ids), "finish_reason": finish}
    return {"choices": [choice]}


def prompt(*ids: int) -> dict[str, Any]:
    role = {"index": 0, "delta": {"role": "assistant", "content": ""}}
    return {"choices": [role], "prompt_token_ids": list(ids)}


def test_tokens_are_counted_from_ids_and_not_from_events_or_usage() -> None:
    tally = Tally("delta")
    tally.add(prompt(1, 2), 1.0)
    tally.add(delta(0, "a b c", 10, 11, 12), 2.0)
    tally.add(delta(0, ""), 3.0)
    tally.add({"choices": [], "usage": {"completion_tokens": 9999}}, 4.0)
    assert (tally.prompt_tokens, tally.output_tokens) == (2, 3)


def test_the_first_token_is_timed_and_the_role_before_it_is_not() -> None:
    tally = Tally("delta")
    tally.add(prompt(1), 1.0)
    assert tally.first_token_at_s is None
    tally.add(delta(0, "a", 10), 2.5)
    tally.add(delta(0, "b", 11), 3.5)
    assert tally.first_token_at_s == 2.5


def test_choices_are_kept_apart() -> None:
    tally = Tally("delta")
    tally.add(prompt(1, 2), 1.0)
    tally.add(delta(1, "x", 20), 1.0)
    tally.add(delta(0, "a", 10), 1.0)
    tally.add(delta(1, "y", 21, finish="stop"), 1.0)
    first, second = tally.choices()
    assert (first.index, first.output_token_ids, first.finish_reason) == (0, (10,), None)
    assert (second.index, second.output_token_ids, second.finish_reason) == (1, (20, 21), "stop")
    assert first.prompt_token_ids == second.prompt_token_ids == (1, 2)


def test_completions_have_prompt_ids_in_each_choice() -> None:
    tally = Tally("text")
    for index, ids in enumerate([[1], [2, 3]]):
        choice = {"index": index, "text": "t", "prompt_token_ids": ids, "token_ids": [9]}
        tally.add({"choices": [choice]}, 1.0)
    assert [choice.prompt_token_ids for choice in tally.choices()] == [(1,), (2, 3)]
    tally.check_complete()


def test_prompt_ids_that_come_twice_do_not_change() -> None:
    tally = Tally("delta")
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
        {"choices": [{"index": 0, "delta": {"content": ["words"]}, "token_ids": [1]}]},
    ],
)
def test_nonsense_is_a_failure_of_the_miner(payload: dict[str, Any]) -> None:
    with pytest.raises(MinerFailure):
        Tally("delta").add(payload, 1.0)


def test_more_tokens_than_a_record_can_hold_are_refused_and_not_counted() -> None:
    tally = Tally("delta")
    tally.add(delta(0, "a", *([1] * MAX_TOKENS)), 1.0)
    with pytest.raises(MinerFailure, match="more than"):
        tally.add(delta(0, "a", 1), 1.0)
    assert tally.output_tokens == MAX_TOKENS


def test_an_answer_without_choices_prompt_or_ids_is_not_complete() -> None:
    with pytest.raises(MinerFailure, match="no choices"):
        Tally("delta").check_complete()
    without_prompt = Tally("delta")
    without_prompt.add(delta(0, "a", 1), 1.0)
    with pytest.raises(MinerFailure, match="prompt_token_ids"):
        without_prompt.check_complete()
    without_ids = Tally("delta")
    without_ids.add(prompt(1), 1.0)
    without_ids.add(delta(0, "words"), 1.0)
    with pytest.raises(MinerFailure, match="no token_ids"):
        without_ids.check_complete()


def test_an_empty_answer_is_complete() -> None:
    tally = Tally("delta")
    tally.add(prompt(1), 1.0)
    tally.check_complete()


def test_the_text_that_the_client_saw_is_digested_choice_by_choice() -> None:
    tally = Tally("delta")
    tally.add(prompt(1), 1.0)
    for text, token in (("Żółw ", 10), ("", 11), ("🐢", 12)):
        tally.add(delta(0, text, token), 1.0)
    tally.add(delta(1, "other", 13), 1.0)
    first, second = tally.choices()
    assert first.text_sha256 == sha256_hex("Żółw 🐢".encode())
    assert first.text_bytes == len("Żółw 🐢".encode())
    assert second.text_sha256 == sha256_hex(b"other")


def test_the_digest_does_not_depend_on_how_the_text_was_cut() -> None:
    cut, whole = Tally("delta"), Tally("message")
    for text, token in (("a b", 10), (" c", 11)):
        cut.add(delta(0, text, token), 1.0)
    message = {"role": "assistant", "content": "a b c"}
    whole.add({"choices": [{"index": 0, "message": message, "token_ids": [10, 11]}]}, 1.0)
    assert cut.choices() == whole.choices()


def test_words_where_no_client_looks_are_not_the_text() -> None:
    tally = Tally("message")
    elsewhere = {"delta": {"content": "honest"}, "text": "honest", "message": {"content": "false"}}
    tally.add({"choices": [{"index": 0, "token_ids": [1], **elsewhere}]}, 1.0)
    assert tally.choices()[0].text_sha256 == sha256_hex(b"false")


def test_text_that_comes_without_its_tokens_is_counted() -> None:
    tally = Tally("delta")
    tally.add(delta(0, "four"), 1.0)
    tally.add(delta(0, " and more", 10), 1.0)
    (choice,) = tally.choices()
    assert (choice.text_bytes, choice.text_bytes_without_ids) == (13, 4)


def test_what_the_client_is_shown_beside_the_text_is_named() -> None:
    tally = Tally("delta")
    tally.add(delta(0, "a", 1), 1.0)
    assert tally.choices()[0].beside_text == ()
    shown = {"reasoning": "hm", "tool_calls": [{"index": 0}], "refusal": None, "made_up": "x"}
    tally.add({"choices": [{"index": 0, "delta": shown, "token_ids": [2]}]}, 1.0)
    assert tally.choices()[0].beside_text == ("tool_calls", "reasoning")


def test_tool_calls_without_token_ids_are_not_a_complete_answer() -> None:
    tally = Tally("message")
    message = {"content": None, "tool_calls": [{"id": "1"}]}
    tally.add({"choices": [{"index": 0, "message": message}], "prompt_token_ids": [1]}, 1.0)
    with pytest.raises(MinerFailure, match="no token_ids"):
        tally.check_complete()


def test_an_answer_that_vllm_gave_up_is_not_a_complete_one() -> None:
    tally = Tally("message")
    choice = {"index": 0, "message": {"content": "Hel"}, "token_ids": [5], "finish_reason": "abort"}
    tally.add({"choices": [choice], "prompt_token_ids": [1]}, 1.0)
    with pytest.raises(MinerFailure, match="broken off"):
        tally.check_complete()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CHOICE = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("index", "delta", "message", "token_ids", "prompt_token_ids", "text"), ANYTHING),
)


PLACES: list[TextPlace] = ["delta", "message", "text"]


@given(st.fixed_dictionaries({"choices": st.lists(CHOICE | ANYTHING, max_size=3)}), st.sampled_from(PLACES))
def test_whatever_a_miner_sends_can_be_recorded_or_is_its_failure(
    payload: dict[str, Any], place: TextPlace
) -> None:
    tally = Tally(place)
    try:
        tally.add(payload, 1.0)
        tally.check_complete()
    except MinerFailure:
        pass
    assert sum(len(choice.output_token_ids) for choice in tally.choices()) == tally.output_tokens
