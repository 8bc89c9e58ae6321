"""The requests that an honest miner's noise is measured on: every kind of traffic that clients send."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from validator.calibration_prompts import Chat, as_request

TEMPERATURES = (0.0, 0.7, 1.0)
OUTPUT_TOKENS = (1, 8, 24, 64, 128)
WAVES = (1, 2, 4, 8)
"""Requests under way at once, wave by wave: the batch that a request shares changes its rounding."""

SHARED_PREFIX_EVERY = 5
"""One request in so many begins with the same long system prompt, so that the prefix cache serves it."""

TWO_CHOICES_EVERY = 11
PLAIN_COMPLETION_EVERY = 7


@dataclass(frozen=True)
class NoiseRequest:
    """One request to send: its path, its body, and whether the answer is a stream."""

    path: str
    body: bytes
    request_id: str
    streamed: bool


def noise_requests(
    model: str, chats: Sequence[Chat], count: int, new_id: Callable[[], str]
) -> list[NoiseRequest]:
    """`count` requests over all chats in turn; kinds vary with periods that have no common divisor."""
    shared = _shared_prefix(chats)
    return [
        _request(model, number, as_request(chat), shared, new_id())
        for number, chat in enumerate(islice(cycle(chats), count))
    ]


def waves(requests: Sequence[NoiseRequest]) -> list[list[NoiseRequest]]:
    """The requests in groups that are sent at once."""
    groups: list[list[NoiseRequest]] = []
    rest = list(requests)
    for size in cycle(WAVES):
        if not rest:
            return groups
        groups.append(rest[:size])
        rest = rest[size:]
    return groups


def _shared_prefix(chats: Sequence[Chat]) -> str:
    """A system prompt of some hundred tokens, made of the chats' own answers."""
    answers = [chat[-1]["content"] for chat in chats[:4]]
    return "Answer in the style of these examples.\n\n" + "\n\n".join(answers)


def _request(model: str, number: int, chat: Chat, shared: str, request_id: str) -> NoiseRequest:
    streamed = number % 2 == 0
    fields: dict[str, Any] = {
        "model": model,
        "request_id": request_id,
        "seed": number,
        "return_token_ids": True,
        "stream": streamed,
        "temperature": TEMPERATURES[number % len(TEMPERATURES)],
        "max_tokens": OUTPUT_TOKENS[number % len(OUTPUT_TOKENS)],
    }
    if number % TWO_CHOICES_EVERY == 0 and fields["temperature"]:
        fields["n"] = 2
    if number % PLAIN_COMPLETION_EVERY == PLAIN_COMPLETION_EVERY - 1:
        path, fields["prompt"] = COMPLETIONS_PATH, chat[-1]["content"]
    else:
        path, fields["messages"] = CHAT_PATH, _messages(number, chat, shared)
    return NoiseRequest(path, json.dumps(fields).encode(), request_id, streamed)


def _messages(number: int, chat: Chat, shared: str) -> Chat:
    if number % SHARED_PREFIX_EVERY:
        return chat
    return [{"role": "system", "content": shared}, *(turn for turn in chat if turn["role"] != "system")]
