"""Readings of texts as tool calls, and that vLLM's own parsers read them so."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.shown_tool_calls import ShownToolCalls, tool_calls_digest
from tests.validator.vllm_tool_parser import shown_by_vllm, streamed_by_vllm
from validator.tool_calls import named_function, tool_calls_of, writes_calls

NAMED = {"type": "function", "function": {"name": "look_up"}}
ONE = '<tool_call>\n{"name": "look_up", "arguments": {"place": "Łódź", "days": [1, 2.5]}}\n</tool_call>'
TWO = f'I will look.{ONE}\n<tool_call>{{"name": "f", "arguments": {{}}}}</tool_call>'

ARGUMENTS = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=6),
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="<>"), max_size=10)
    | st.lists(st.integers(), max_size=3),
    max_size=4,
)


def digests(text: str, choice: Any = "auto") -> set[str]:
    return {one.sha256 for one in tool_calls_of(text, choice)}


def test_calls_between_marks_are_read_with_what_stands_before_them() -> None:
    (found,) = tool_calls_of(TWO, "auto")
    assert found.contents == ("I will look.",)
    assert [name for name, _ in found.calls] == ["look_up", "f"]
    assert json.loads(found.calls[0][1]) == {"place": "Łódź", "days": [1, 2.5]}


def test_blanks_before_a_call_may_be_left_out() -> None:
    (found,) = tool_calls_of("\n" + ONE, "auto")
    assert found.contents == ("\n", "")


def test_a_named_function_takes_the_whole_text() -> None:
    (found,) = tool_calls_of('{"place": "Łódź"}', NAMED)
    assert (found.contents, found.calls) == (("",), (("look_up", '{"place": "Łódź"}'),))


def test_a_required_call_is_one_of_a_list() -> None:
    text = '[{"name": "f", "parameters": {"x": 1}}, {"name": "g", "parameters": {}}]'
    assert digests(text, "required") == {tool_calls_digest([("f", '{"x":1}'), ("g", "{}")])}
    assert not tool_calls_of(text, "auto")


@pytest.mark.parametrize(
    "text",
    [
        "No call at all.",
        "<tool_call>",
        '<tool_call>{"name": "f", "arguments": {}}',
        '<tool_call>{"name": "f", "arguments": {}</tool_call>',
        '<tool_call>{"arguments": {}, "name": "f"}</tool_call>',
        '<tool_call>{"name": "f", "arguments": {}, "more": 1}</tool_call>',
        '<tool_call>{"name": "f", "arguments": "{}"}</tool_call>',
        '<tool_call>{"name": "f\\"", "arguments": {}}</tool_call>',
        '<tool_call>["f"]</tool_call>',
        ONE + "<tool_call>{",
    ],
)
def test_unusual_and_unfinished_calls_are_not_read(text: str) -> None:
    assert not tool_calls_of(text, "auto")
    assert not tool_calls_of(text, "required")


@pytest.mark.parametrize("text", ["[]", "{}", '[{"name": "f"}]', "[", '[{"name": "f", "parameters": []}]'])
def test_no_required_list_is_read_from_anything_else(text: str) -> None:
    assert not tool_calls_of(text, "required")


@pytest.mark.parametrize(
    "choice", ["auto", None, {"type": "function"}, {"function": 5}, {"function": {"name": 5}}]
)
def test_other_choices_name_no_function(choice: Any) -> None:
    assert named_function(choice) is None


def test_a_begun_call_is_noticed() -> None:
    assert writes_calls(["Hm.", "a<tool_call>"])
    assert not writes_calls(["Hm.", "a<tool_cal"])


@given(arguments=ARGUMENTS, before=st.sampled_from(["", "\n", "Let me see. "]), size=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_vllm_shows_marked_calls_as_they_are_read(arguments: dict[str, Any], before: str, size: int) -> None:
    call = json.dumps({"name": "look_up", "arguments": arguments}, ensure_ascii=False)
    text = f"{before}<tool_call>\n{call}\n</tool_call>"
    (read,) = tool_calls_of(text, "auto")
    content, calls = shown_by_vllm(text)
    shown = ShownToolCalls()
    shown.add(calls)
    assert shown.sha256 == read.sha256
    assert (content or "") in read.contents
    content, parts = streamed_by_vllm(text, size)
    streamed = ShownToolCalls()
    for part in parts:
        streamed.add(part)
    assert streamed.sha256 == read.sha256
    assert content in read.contents
