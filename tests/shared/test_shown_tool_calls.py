import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer_text import AnswerText
from shared.errors import MalformedMessage
from shared.shown_tool_calls import MAX_CALL_BYTES, MAX_CALLS, ShownToolCalls, tool_calls_digest

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def whole(*calls: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"id": f"call-{number}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for number, (name, arguments) in enumerate(calls)
    ]


def digest_of(*parts: list[dict[str, Any]]) -> str | None:
    shown = ShownToolCalls()
    for part in parts:
        shown.add(part)
    return shown.sha256


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=4), st.integers(1, 7))
def test_a_stream_and_a_whole_answer_have_one_digest(arguments: dict[str, Any], size: int) -> None:
    text = json.dumps(arguments, indent=2)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    stream: list[list[dict[str, Any]]] = [[{"index": 0, "function": {"name": "f"}}]]
    stream += [[{"index": 0, "function": {"arguments": piece}}] for piece in pieces]
    compact = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    assert digest_of(*stream) == digest_of(whole(("f", compact)))


@pytest.mark.parametrize(
    "other",
    [
        whole(("g", '{"x": 1}')),
        whole(("f", '{"x": 2}')),
        whole(("f", '{"x": "1"}')),
        whole(("f", '{"x": 1')),
        whole(("f", '{"x": 1}'), ("f", '{"x": 1}')),
        whole(("f", json.dumps('{"x": 1}'))),
    ],
)
def test_other_calls_have_another_digest(other: list[dict[str, Any]]) -> None:
    assert digest_of(other) != digest_of(whole(("f", '{"x": 1}')))


def test_calls_are_told_apart_by_their_order_and_not_by_their_ids() -> None:
    first, second = ("f", "{}"), ("g", "{}")
    assert digest_of(whole(first, second)) != digest_of(whole(second, first))
    assert digest_of(whole(first)) == digest_of(
        [{"id": "other", "function": {"name": "f", "arguments": "{}"}}]
    )


def test_no_call_has_no_digest() -> None:
    assert ShownToolCalls().sha256 is None
    assert digest_of([]) is None


@pytest.mark.parametrize("arguments", ["[" * 300 + "]" * 300, "[" * 5000, "1e999", "NaN", "\x00", ""])
def test_arguments_that_are_no_plain_json_are_digested_as_text(arguments: str) -> None:
    digest = tool_calls_digest([("f", arguments)])
    assert digest == tool_calls_digest([("f", arguments)])
    assert digest != tool_calls_digest([("f", arguments + "x")])


@pytest.mark.parametrize(
    "value",
    [
        "call",
        [5],
        [{"index": -1, "function": {}}],
        [{"index": MAX_CALLS, "function": {}}],
        [{"index": True, "function": {}}],
        [{"index": 0, "function": "f"}],
        [{"index": 0, "function": {"name": 5}}],
        [{"index": 0, "function": {"name": "f", "arguments": {"x": 1}}}],
        [{"index": 0, "function": {"arguments": "x" * (MAX_CALL_BYTES + 1)}}],
    ],
)
def test_what_is_no_tool_call_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedMessage):
        ShownToolCalls().add(value)


def test_calls_that_grow_without_end_are_malformed() -> None:
    shown = ShownToolCalls()
    part = [{"index": 0, "function": {"arguments": "x" * (MAX_CALL_BYTES // 4)}}]
    for _ in range(4):
        shown.add(part)
    with pytest.raises(MalformedMessage):
        shown.add(part)


def test_an_answers_text_gathers_its_tool_calls() -> None:
    text = AnswerText("delta")
    text.add({"delta": {"tool_calls": [{"index": 0, "function": {"name": "f"}}]}}, brings_ids=True)
    text.add({"delta": {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}}, brings_ids=True)
    assert text.beside == ("tool_calls",)
    assert text.tool_calls.sha256 == tool_calls_digest([("f", "{}")])
