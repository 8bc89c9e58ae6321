import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from shared.answer_text import AnswerText
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.records import ChoiceRecord, RequestRecord
from shared.shown_tool_calls import tool_calls_digest
from tests.models import demo_model
from tests.validator.auditor_examples import example_record
from validator.delivered_text import TextCheck, check_delivered_text
from validator.detokenization import TextDecoder, TextRule
from validator.model_tokenizer import load_tokenizer

EOS = 2
"""<|im_end|> of the demo model."""

TOOL = {"type": "function", "function": {"name": "look_up"}}
USER = {"role": "user", "content": "Say something."}
ANSWER = "Żółw 🐢 said: 你好."

PASSED = TextCheck()

Write = Callable[[str], list[int]]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(str(demo_model()))


@pytest.fixture(scope="module")
def decoder(tokenizer: PreTrainedTokenizerBase) -> TextDecoder:
    return TextDecoder(tokenizer)


@pytest.fixture(scope="module")
def thinking(tokenizer: PreTrainedTokenizerBase) -> TextDecoder:
    """The decoder of a model that marks where its reasoning ends."""
    other = load_tokenizer(str(demo_model()))
    other.add_tokens(["</think>"])
    return TextDecoder(other)


@pytest.fixture(scope="module")
def calling(tokenizer: PreTrainedTokenizerBase) -> TextDecoder:
    """The decoder of a model that marks where it calls tools, with the same ids for all other texts."""
    other = load_tokenizer(str(demo_model()))
    other.add_tokens(["<tool_call>", "</tool_call>"])
    return TextDecoder(other)


@pytest.fixture(scope="module")
def write(tokenizer: PreTrainedTokenizerBase) -> Write:
    return lambda text: list(tokenizer(text)["input_ids"])


def choice(
    output: list[int], text: str, finish: str | None = "stop", index: int = 0, **recorded: Any
) -> ChoiceRecord:
    """A choice as a gateway records it when `text` was sent; `recorded` replaces fields."""
    seen = AnswerText("text")
    seen.add({"text": text}, brings_ids=True)
    values: dict[str, Any] = {"text_sha256": seen.sha256, "text_bytes": seen.size_bytes} | recorded
    return ChoiceRecord(
        index=index, prompt_token_ids=(1, 9), output_token_ids=tuple(output), finish_reason=finish, **values
    )


def record(
    *choices: ChoiceRecord, path: str = CHAT_PATH, streamed: bool = True, **body: Any
) -> RequestRecord:
    text = json.dumps({"messages": [USER]} | body)
    update: dict[str, Any] = {"choices": choices, "path": path, "request_body": text, "streamed": streamed}
    return example_record(1).model_copy(update=update)


def test_the_text_of_the_tokens_passes(decoder: TextDecoder, write: Write) -> None:
    for path in (CHAT_PATH, COMPLETIONS_PATH):
        for streamed in (True, False):
            seen = record(choice([*write(ANSWER), EOS], ANSWER), path=path, streamed=streamed)
            assert check_delivered_text(seen, decoder) == PASSED


@pytest.mark.parametrize(
    "text",
    ["Something else entirely.", "", ANSWER + " ", ANSWER[:-1], ANSWER.upper(), ANSWER + "<|im_end|>"],
)
def test_any_other_text_fails_and_is_not_quoted(decoder: TextDecoder, write: Write, text: str) -> None:
    found = check_delivered_text(record(choice([*write(ANSWER), EOS], text)), decoder).finding
    assert found is not None
    assert (found.outcome, found.check) == ("fail", "text")
    assert f"{len(text.encode())} bytes" in found.reason
    assert ANSWER not in found.reason
    assert not text or text not in found.reason


def test_other_text_of_the_same_length_fails(decoder: TextDecoder, write: Write) -> None:
    false = choice([*write("Yes."), EOS], "No!!")
    assert check_delivered_text(record(false), decoder).finding is not None


def test_one_false_choice_among_several_fails(decoder: TextDecoder, write: Write) -> None:
    honest = choice([*write("Yes."), EOS], "Yes.")
    false = choice([*write("Yes."), EOS], "No.", index=1)
    assert check_delivered_text(record(honest, honest.model_copy(update={"index": 1})), decoder) == PASSED
    found = check_delivered_text(record(honest, false), decoder).finding
    assert found is not None
    assert "choice 1" in found.reason


def test_tokens_repeated_to_look_fast_fail_by_their_text(decoder: TextDecoder, write: Write) -> None:
    word = write(" word")
    assert check_delivered_text(record(choice(word * 3, " word" * 3, "length")), decoder) == PASSED
    assert check_delivered_text(record(choice(word * 30, " word" * 3, "length")), decoder).finding


def test_text_that_grows_without_tokens_fails(decoder: TextDecoder, write: Write) -> None:
    padded = choice(write("one two"), "one two three four", "length")
    assert check_delivered_text(record(padded), decoder).finding is not None


def test_text_that_comes_before_its_tokens_fails_in_streams_only(decoder: TextDecoder, write: Write) -> None:
    early = choice([*write("Yes."), EOS], "Yes.", text_bytes_without_ids=4)
    found = check_delivered_text(record(early), decoder).finding
    assert found is not None
    assert "4 bytes of text came in events without token ids" in found.reason
    assert check_delivered_text(record(early, streamed=False), decoder) == PASSED


def test_a_stop_string_is_cut_off_as_the_request_says(decoder: TextDecoder, write: Write) -> None:
    ignored = choice(write("one two three"), "one two three", "length")
    assert check_delivered_text(record(ignored), decoder) == PASSED
    assert check_delivered_text(record(ignored, stop="two"), decoder).finding
    cut = choice(write("one two"), "one ")
    assert check_delivered_text(record(cut, stop="two"), decoder) == PASSED
    assert check_delivered_text(record(cut, stop=["x", "two"]), decoder) == PASSED
    assert check_delivered_text(record(cut), decoder).finding
    kept = choice(write("one two"), "one two")
    assert check_delivered_text(record(kept, stop="two", include_stop_str_in_output=True), decoder) == PASSED
    assert check_delivered_text(record(kept, stop="two"), decoder).finding


def test_special_tokens_are_shown_only_when_asked_for(decoder: TextDecoder, write: Write) -> None:
    output = [*write("a"), 1, *write("b")]
    shown, hidden = (choice(output, text, "length") for text in ("a<|im_start|>b", "ab"))
    assert check_delivered_text(record(hidden), decoder) == PASSED
    assert check_delivered_text(record(shown), decoder).finding
    assert check_delivered_text(record(shown, skip_special_tokens=False), decoder) == PASSED
    assert check_delivered_text(record(hidden, skip_special_tokens=False), decoder).finding


def test_an_unfinished_answer_may_lack_what_was_held_back(decoder: TextDecoder, write: Write) -> None:
    left = choice(write("one two three"), "one two t", None)
    assert check_delivered_text(record(left, stop="never"), decoder) == PASSED
    assert check_delivered_text(record(left), decoder).finding


def test_an_echo_repeats_the_last_message_of_the_assistant(decoder: TextDecoder, write: Write) -> None:
    begun = {"role": "assistant", "content": "Well, "}
    body: dict[str, Any] = {"messages": [USER, begun], "echo": True}
    seen = choice(write("yes"), "Well, yes", "length", text_bytes_without_ids=len("Well, "))
    assert check_delivered_text(record(seen, **body), decoder) == PASSED
    assert check_delivered_text(record(choice(write("yes"), "yes", "length"), **body), decoder).finding
    assert check_delivered_text(record(seen, echo=True), decoder).finding, "the last message is the user's"
    assert check_delivered_text(record(seen, path=COMPLETIONS_PATH, **body), decoder).finding


def test_an_echo_does_not_excuse_more_text_without_tokens(decoder: TextDecoder, write: Write) -> None:
    body: dict[str, Any] = {"messages": [USER, {"role": "assistant", "content": "Well, "}], "echo": True}
    seen = choice(write("yes"), "Well, yes", "length", text_bytes_without_ids=len("Well, y"))
    assert check_delivered_text(record(seen, **body), decoder).finding


def test_an_older_gateways_record_is_neither_cleared_nor_blamed(decoder: TextDecoder, write: Write) -> None:
    old = ChoiceRecord(
        index=0, prompt_token_ids=(1,), output_token_ids=tuple(write("x")), finish_reason="stop"
    )
    checked = check_delivered_text(record(old), decoder)
    assert checked.finding is None
    assert "older version" in checked.unchecked


def test_a_false_choice_fails_even_beside_one_that_cannot_be_checked(
    decoder: TextDecoder, write: Write
) -> None:
    unknown = choice([EOS], "", "tool_calls", beside_text=("tool_calls",))
    false = choice(write("Yes."), "No.", "length", index=1)
    checked = check_delivered_text(record(unknown, false, tools=[TOOL]), decoder)
    assert checked.finding is not None
    assert "choice 0" in checked.unchecked


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"min_tokens": "many"}, "min_tokens"),
        ({"stop": [5]}, "stop"),
        ({"use_beam_search": True}, "beam search"),
        ({"echo": True, "messages": [{"role": "assistant", "content": [{"type": "text"}]}]}, "echo"),
        ({"echo": True, "add_generation_prompt": False}, "echo"),
    ],
)
def test_what_cannot_be_rebuilt_is_not_judged_and_says_why(
    decoder: TextDecoder, write: Write, body: dict[str, Any], words: str
) -> None:
    checked = check_delivered_text(record(choice(write("Yes."), "No."), **body), decoder)
    assert checked.finding is None
    assert words in checked.unchecked


def test_a_body_that_is_not_json_is_not_judged(decoder: TextDecoder, write: Write) -> None:
    seen = record(choice(write("Yes."), "No.")).model_copy(update={"request_body": "{"})
    checked = check_delivered_text(seen, decoder)
    assert (checked.finding, "not JSON" in checked.unchecked) == (None, True)


CALL = '<tool_call>{"name": "look_up", "arguments": {"place": "Kraków"}}</tool_call>'
SHOWN = ("look_up", '{"place":"Kraków"}')


def called(
    output: list[int], text: str, *calls: tuple[str, str], finish: str | None = "tool_calls"
) -> ChoiceRecord:
    """A choice of which the client was shown `text` and these tool calls."""
    return choice(
        output, text, finish, beside_text=("tool_calls",), tool_calls_sha256=tool_calls_digest(calls)
    )


def test_the_tool_calls_of_the_tokens_pass(calling: TextDecoder, write: Write) -> None:
    output = [*write("Let me see. " + CALL), EOS]
    assert (
        check_delivered_text(record(called(output, "Let me see. ", SHOWN), tools=[TOOL]), calling) == PASSED
    )


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("", [("look_up", '{"place":"Moscow"}')]),
        ("", [("transfer", '{"place":"Kraków"}')]),
        ("", [SHOWN, SHOWN]),
        ("", [("look_up", '{"place":"Kraków"')]),
        ("Buy now!", [SHOWN]),
    ],
)
def test_other_tool_calls_than_those_of_the_tokens_fail(
    calling: TextDecoder, write: Write, text: str, calls: list[tuple[str, str]]
) -> None:
    output = [*write(CALL), EOS]
    found = check_delivered_text(record(called(output, text, *calls), tools=[TOOL]), calling).finding
    assert found is not None
    assert "tool calls" in found.reason


def test_a_tool_call_that_the_tokens_do_not_make_fails(calling: TextDecoder, write: Write) -> None:
    plain = [*write("It rains."), EOS]
    assert check_delivered_text(record(called(plain, "", SHOWN), tools=[TOOL]), calling).finding
    assert check_delivered_text(record(called(plain, "It rains.", SHOWN), tools=[TOOL]), calling).finding


def test_forced_tool_calls_are_those_of_the_tokens_with_any_model(decoder: TextDecoder, write: Write) -> None:
    named: dict[str, Any] = {"tools": [TOOL], "tool_choice": TOOL}
    output = [*write('{"place": "Kraków"}'), EOS]
    assert check_delivered_text(record(called(output, "", SHOWN), **named), decoder) == PASSED
    other = called(output, "", ("look_up", "{}"))
    assert check_delivered_text(record(other, **named), decoder).finding
    required: dict[str, Any] = {"tools": [TOOL], "tool_choice": "required"}
    output = [*write('[{"name": "look_up", "parameters": {"place": "Kraków"}}]'), EOS]
    assert check_delivered_text(record(called(output, "", SHOWN), **required), decoder) == PASSED
    assert check_delivered_text(record(called(output, "", SHOWN, SHOWN), **required), decoder).finding


@pytest.mark.parametrize(
    ("text", "finish"), [(CALL[:-20], "length"), (CALL[:-20], None), ("<tool_call>{}</tool_call>", "stop")]
)
def test_unfinished_and_unusual_tool_calls_are_not_judged(
    calling: TextDecoder, write: Write, text: str, finish: str | None
) -> None:
    shown = called([*write(text), EOS], "", ("look_up", "{"), finish=finish)
    checked = check_delivered_text(record(shown, tools=[TOOL]), calling)
    assert checked.finding is None
    assert "tool call" in checked.unchecked


def test_tool_calls_are_not_judged_where_their_form_is_not_known(decoder: TextDecoder, write: Write) -> None:
    output = [*write("[look_up(place='Kraków')]"), EOS]
    checked = check_delivered_text(record(called(output, "", SHOWN), tools=[TOOL]), decoder)
    assert (checked.finding, "parser" in checked.unchecked) == (None, True)


def test_tool_calls_without_a_recorded_digest_are_not_judged(calling: TextDecoder, write: Write) -> None:
    old = choice([*write(CALL), EOS], "", "tool_calls", beside_text=("tool_calls",))
    checked = check_delivered_text(record(old, tools=[TOOL]), calling)
    assert (checked.finding, "older version" in checked.unchecked) == (None, True)


@pytest.mark.parametrize("body", [{}, {"tools": [TOOL], "tool_choice": "none"}, {"tools": []}])
def test_tool_calls_that_nobody_asked_for_fail(
    decoder: TextDecoder, write: Write, body: dict[str, Any]
) -> None:
    shown = choice([*write("Yes."), EOS], "Yes.", "tool_calls", beside_text=("tool_calls",))
    found = check_delivered_text(record(shown, **body), decoder).finding
    assert found is not None
    assert "tool_calls" in found.reason


def test_offered_tools_do_not_excuse_other_text(decoder: TextDecoder, write: Write) -> None:
    output = [*write("Yes, it is."), EOS]
    body: dict[str, Any] = {"tools": [TOOL]}
    assert check_delivered_text(record(choice(output, "Yes, it is."), **body), decoder) == PASSED
    assert check_delivered_text(record(choice(output, "No, it is not."), **body), decoder).finding
    cut = check_delivered_text(record(choice(output, "Yes,"), **body), decoder)
    assert cut.finding is None
    assert "tool call" in cut.unchecked


def test_a_tool_parser_may_have_special_tokens_shown(decoder: TextDecoder, write: Write) -> None:
    shown = choice([*write("a"), 1, *write("b")], "a<|im_start|>b", "length")
    assert check_delivered_text(record(shown, tools=[TOOL]), decoder) == PASSED


def test_reasoning_is_not_judged_where_the_model_marks_it(
    decoder: TextDecoder, thinking: TextDecoder, write: Write
) -> None:
    apart = choice([*write("Hm. Yes."), EOS], "Yes.", beside_text=("reasoning",))
    assert check_delivered_text(record(apart), decoder).finding, "this model has no reasoning to show"
    checked = check_delivered_text(record(apart), thinking)
    assert checked.finding is None
    assert "reasoning" in checked.unchecked


def test_reasoning_without_its_parser_is_plain_text(thinking: TextDecoder, write: Write) -> None:
    output = [*write("Hm.</think>Yes."), EOS]
    assert check_delivered_text(record(choice(output, "Hm.</think>Yes.")), thinking) == PASSED
    hidden = check_delivered_text(record(choice(output, "Yes.")), thinking)
    assert (hidden.finding, "reasoning" in hidden.unchecked) == (None, True)
    assert check_delivered_text(record(choice([*write("Hm. Yes."), EOS], "Yes.")), thinking).finding


def test_a_refusal_or_audio_of_the_miners_own_making_fails(
    decoder: TextDecoder, thinking: TextDecoder, write: Write
) -> None:
    for name in ("refusal", "audio"):
        shown = choice([*write("Yes."), EOS], "Yes.", beside_text=(name,))
        for model in (decoder, thinking):
            assert check_delivered_text(record(shown, tools=[TOOL]), model).finding


@given(text=st.text(max_size=30), other=st.text(max_size=30))
@settings(max_examples=100)
def test_only_the_text_of_the_tokens_passes(
    decoder: TextDecoder, write: Write, text: str, other: str
) -> None:
    output = write(text)
    (sent,) = decoder.sent_texts((1, 9), output, TextRule(), "length")
    assert check_delivered_text(record(choice(output, sent, "length")), decoder) == PASSED
    found = check_delivered_text(record(choice(output, other, "length")), decoder).finding
    assert (found is None) == (other == sent)
