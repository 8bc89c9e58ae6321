from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.answer_text import AnswerText, TextPlace, text_place
from shared.canonical import sha256_hex
from shared.errors import MalformedMessage


@pytest.mark.parametrize(
    ("chat", "streamed", "place"),
    [(True, True, "delta"), (True, False, "message"), (False, True, "text"), (False, False, "text")],
)
def test_the_place_of_the_text_follows_from_path_and_form(chat: bool, streamed: bool, place: str) -> None:
    assert text_place(chat, streamed) == place


@pytest.mark.parametrize(
    ("place", "choice"),
    [
        ("delta", {"delta": {"content": "words"}}),
        ("message", {"message": {"content": "words"}}),
        ("text", {"text": "words"}),
    ],
)
def test_text_is_read_where_the_client_reads_it_and_nowhere_else(
    place: TextPlace, choice: dict[str, Any]
) -> None:
    places: tuple[TextPlace, ...] = ("delta", "message", "text")
    for other in places:
        text = AnswerText(other)
        text.add(choice, brings_ids=True)
        expected = b"words" if other == place else b""
        assert (text.sha256, text.size_bytes) == (sha256_hex(expected), len(expected))


@given(st.lists(st.text()))
def test_the_digest_is_that_of_all_parts_together(parts: list[str]) -> None:
    text = AnswerText("delta")
    for part in parts:
        text.add({"delta": {"content": part}}, brings_ids=True)
    whole = "".join(parts).encode()
    assert (text.sha256, text.size_bytes) == (sha256_hex(whole), len(whole))


def test_a_null_content_and_a_missing_part_are_no_text() -> None:
    text = AnswerText("message")
    for choice in ({}, {"message": None}, {"message": "words"}, {"message": {"content": None}}):
        text.add(choice, brings_ids=True)
    assert not text.shows_anything


@pytest.mark.parametrize("words", [5, ["words"], {"text": "words"}, True])
def test_content_that_is_no_text_is_malformed(words: Any) -> None:
    with pytest.raises(MalformedMessage, match="content"):
        AnswerText("delta").add({"delta": {"content": words}}, brings_ids=True)


def test_empty_fields_beside_the_text_show_the_client_nothing() -> None:
    text = AnswerText("delta")
    text.add({"delta": {"content": "", "tool_calls": [], "reasoning": "", "refusal": None}}, brings_ids=False)
    assert text.beside == ()
    assert not text.shows_anything


def test_fields_beside_the_text_are_named_in_one_order_whenever_they_came() -> None:
    text = AnswerText("delta")
    text.add({"delta": {"refusal": "no"}}, brings_ids=True)
    text.add({"delta": {"tool_calls": [{}]}}, brings_ids=True)
    assert text.beside == ("tool_calls", "refusal")
    assert text.shows_anything
