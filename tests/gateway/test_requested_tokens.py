"""What is held of a request before it is served, and which requests are one conversation."""

import json
from typing import Any

import pytest

from gateway.client_request import ClientRequest, parse_client_request
from gateway.requested_tokens import ASSUMED_OUTPUT_TOKENS, choices_each, conversation, requested_tokens
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH


def chat(**fields: Any) -> ClientRequest:
    body = {"messages": [{"role": "user", "content": "Hello"}]} | fields
    return parse_client_request(CHAT_PATH, json.dumps(body).encode(), "model")


def completion(prompt: Any, **fields: Any) -> ClientRequest:
    return parse_client_request(COMPLETIONS_PATH, json.dumps({"prompt": prompt} | fields).encode(), "model")


@pytest.mark.parametrize(
    ("request_", "output"),
    [
        (chat(), ASSUMED_OUTPUT_TOKENS),
        (chat(max_tokens=7), 7),
        (chat(max_completion_tokens=9, max_tokens=7), 9),
        (chat(max_tokens=7, n=3), 21),
        (chat(max_tokens=None), ASSUMED_OUTPUT_TOKENS),
        (completion("one", max_tokens=7), 7),
        (completion(["one", "two"], max_tokens=7, n=2), 28),
        (completion([1, 2, 3], max_tokens=7), 7),
        (completion([[1, 2], [3]], max_tokens=7), 14),
    ],
)
def test_tokens_of_a_request_are_its_body_and_all_its_answers(request_: ClientRequest, output: int) -> None:
    assert requested_tokens(request_, 400) == 100 + output


def test_without_n_there_is_one_choice() -> None:
    assert (choices_each(chat()), choices_each(chat(n=None)), choices_each(chat(n=4))) == (1, 1, 4)


def turns(*contents: Any) -> list[dict[str, Any]]:
    return [
        {"role": "assistant" if number % 2 else "user", "content": content}
        for number, content in enumerate(contents)
    ]


def test_a_conversation_is_known_again_however_it_is_written() -> None:
    opening = conversation(chat(messages=turns("Hello")))
    in_parts = [{"type": "text", "text": "Hello"}]
    assert opening == conversation(chat(messages=turns("Hello", "Hi", "What now?")))
    assert opening == conversation(chat(messages=turns(in_parts, "Hi", "What now?")))
    assert opening == conversation(chat(messages=[{"role": "system", "content": "Be kind"}, *turns("Hello")]))
    assert opening != conversation(chat(messages=turns("Good day")))


@pytest.mark.parametrize(
    "messages", [[{"role": "system", "content": "x"}], turns(None), turns(["", {"type": "image_url"}])]
)
def test_messages_without_words_are_a_conversation_too(messages: list[dict[str, Any]]) -> None:
    assert len(conversation(chat(messages=messages))) == 64


def test_completions_are_told_by_their_prompt() -> None:
    assert (
        conversation(completion("a")) == conversation(completion("a", n=2)) != conversation(completion("b"))
    )
