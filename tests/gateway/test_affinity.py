import json
from typing import Any

import pytest

from gateway.affinity import BLOCK_BYTES, LEAST_FAMILIAR_BYTES, MOST_LOOKED_UP, Affinity, Prompt, prompt_of
from gateway.client_request import parse_client_request
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH

LONG = "word " * LEAST_FAMILIAR_BYTES


def chat(*turns: str, client: str = "a client") -> Prompt:
    """A conversation whose turns alternate between the user and the model."""
    messages = [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
    body = json.dumps({"messages": messages}).encode()
    return prompt_of(parse_client_request(CHAT_PATH, body, "m"), client)


def text(prompt: Any) -> Prompt:
    body = json.dumps({"prompt": prompt}).encode()
    return prompt_of(parse_client_request(COMPLETIONS_PATH, body, "m"), "a client")


def test_the_next_turn_is_known_by_the_one_before() -> None:
    affinity = Affinity()
    affinity.served(chat(LONG), "miner")
    found = affinity.familiar(chat(LONG, "an answer", "go on"))
    assert found is not None
    assert found.hotkey == "miner"
    assert 0.9 < found.share < 1


def test_the_longest_known_beginning_counts() -> None:
    affinity = Affinity()
    affinity.served(chat(LONG), "first")
    affinity.served(chat(LONG, "one", "more"), "second")
    found = affinity.familiar(chat(LONG, "one", "more", "two", "end"))
    assert found is not None
    assert found.hotkey == "second"


def test_a_turn_that_was_taken_back_still_finds_the_turn_before() -> None:
    affinity = Affinity()
    affinity.served(chat(LONG), "miner")
    affinity.served(chat(LONG, "one", "wrong"), "other")
    found = affinity.familiar(chat(LONG, "one", "right"))
    assert found is not None
    assert found.hotkey == "miner"


@pytest.mark.parametrize(
    "other",
    [
        chat(LONG + "!", "an answer", "go on"),
        chat(LONG, "an answer", "go on", client="another"),
        chat("go on"),
        text(LONG),
    ],
    ids=["another beginning", "another client", "another conversation", "another kind of prompt"],
)
def test_what_does_not_go_on_from_it_is_not_familiar(other: Prompt) -> None:
    affinity = Affinity()
    affinity.served(chat(LONG), "miner")
    assert affinity.familiar(other) is None


def test_a_short_beginning_is_worth_nothing() -> None:
    affinity = Affinity()
    affinity.served(chat("hi"), "miner")
    assert affinity.familiar(chat("hi", "hello", LONG)) is None
    assert len(affinity) == 0


def test_texts_and_token_ids_are_known_by_whole_blocks() -> None:
    for begun, gone_on in (
        ("x" * 3 * BLOCK_BYTES + "tail", "x" * 3 * BLOCK_BYTES + "tail and more"),
        (list(range(1000)), list(range(1100))),
    ):
        affinity = Affinity()
        affinity.served(text(begun), "miner")
        found = affinity.familiar(text(gone_on))
        assert found is not None
        assert 0.5 < found.share <= 1
        assert affinity.familiar(text("y" * 3 * BLOCK_BYTES)) is None


def test_several_prompts_at_once_are_nobodys_conversation() -> None:
    assert text(["x" * 5000, "y" * 5000]).beginnings == ()


def test_what_was_used_longest_ago_is_forgotten_first() -> None:
    affinity = Affinity(most=2)
    prompts = [chat(LONG + str(number)) for number in range(3)]
    affinity.served(prompts[0], "a")
    affinity.served(prompts[1], "b")
    assert affinity.familiar(prompts[0]) is not None
    affinity.served(prompts[2], "c")
    assert len(affinity) == 2
    assert affinity.familiar(prompts[1]) is None
    assert affinity.familiar(prompts[0]) is not None


def test_a_long_conversation_is_looked_up_a_bounded_number_of_times() -> None:
    long = chat(*["turn"] * 1001)
    assert len(long.beginnings) == MOST_LOOKED_UP
    affinity = Affinity()
    affinity.served(chat(*["turn"] * 999), "miner")
    found = affinity.familiar(long)
    assert found is not None
    assert found.share > 0.99
