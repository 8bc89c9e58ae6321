from typing import Any

import pytest

from miners.response_tokens import ResponseTokens


def gathered(*answers: Any) -> ResponseTokens:
    tokens = ResponseTokens()
    for answer in answers:
        tokens.add(answer)
    return tokens


def test_a_chat_shows_its_prompt_beside_the_choices() -> None:
    answer = {
        "id": "chatcmpl-1",
        "prompt_token_ids": [1, 2],
        "choices": [{"index": 0, "token_ids": [3]}, {"index": 1, "token_ids": [4, 5]}],
    }
    tokens = gathered(answer)
    assert tokens.prompt == {0: [1, 2], 1: [1, 2]}
    assert tokens.output == {0: [3], 1: [4, 5]}


def test_a_completion_shows_each_prompt_in_its_choice() -> None:
    choices = [
        {"index": 0, "prompt_token_ids": [1], "token_ids": [3]},
        {"index": 1, "prompt_token_ids": [2, 2], "token_ids": []},
    ]
    tokens = gathered({"choices": choices})
    assert tokens.prompt == {0: [1], 1: [2, 2]}
    assert tokens.output == {0: [3], 1: []}


def test_a_stream_adds_up_and_keeps_its_envelope() -> None:
    base = {"id": "c", "object": "chat.completion.chunk", "created": 5, "model": "m"}
    tokens = gathered(
        {**base, "prompt_token_ids": [1, 2], "choices": [{"index": 0, "delta": {}}]},
        {**base, "choices": [{"index": 0, "token_ids": [3]}]},
        {**base, "choices": [{"index": 0, "token_ids": None}]},
        {**base, "choices": [{"index": 0, "token_ids": [4, 5], "prompt_token_ids": None}]},
        {**base, "choices": [], "usage": {}},
    )
    assert (tokens.prompt, tokens.output) == ({0: [1, 2]}, {0: [3, 4, 5]})
    assert tokens.envelope == base
    assert not tokens.failed


def test_output_is_seen_from_the_first_token_on() -> None:
    tokens = gathered({"choices": [{"index": 0, "delta": {"role": "assistant"}}]})
    assert not tokens.any_output
    tokens.add({"choices": [{"index": 0, "token_ids": [9]}]})
    assert tokens.any_output


@pytest.mark.parametrize("answer", [{"error": {"message": "no"}}, None, [], "text"])
def test_an_error_or_nonsense_means_failure(answer: Any) -> None:
    assert gathered({"choices": []}, answer).failed
