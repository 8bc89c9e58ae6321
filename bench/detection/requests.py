"""The requests of the benchmark: every kind that clients send, drawn from a seed."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from validator.calibration_requests import NoiseRequest

PROMPTS_FILE = Path(__file__).with_name("prompts.json")
"""Texts in several languages, code, JSON and conversations, none of which calibration has seen."""

TEMPERATURES = (0.0, 0.3, 0.7, 0.8, 1.0, 1.0, 1.2)
OUTPUT_TOKENS = (8, 16, 32, 64, 128, 256)
"""Bounds on the output: a production answer has some hundred tokens."""

TOP_P = (1.0, 1.0, 0.95, 0.9, 0.8)
COMPLETION_SHARE = 0.1
STREAMED_SHARE = 0.5
PENALTY_SHARE = 0.1
TOP_K_SHARE = 0.15
TWO_CHOICES_SHARE = 0.05
CONCURRENCY = (1, 2, 4, 8)


class PromptFile(TypedDict):
    """The file's form: conversations that end with a user's message."""

    conversations: list[list[dict[str, str]]]


def conversations(file: Path = PROMPTS_FILE) -> list[list[dict[str, str]]]:
    """All conversations of the file."""
    return cast(PromptFile, json.loads(file.read_text(encoding="utf-8")))["conversations"]


def detection_requests(
    model: str, texts: Sequence[list[dict[str, str]]], count: int, seed: int
) -> list[NoiseRequest]:
    """`count` requests; the same seed gives the same ones."""
    draw = random.Random(seed)
    order = list(texts)
    requests = []
    for number in range(count):
        if number % len(order) == 0:
            draw.shuffle(order)
        requests.append(_request(model, order[number % len(order)], draw))
    return requests


def in_waves(requests: Sequence[NoiseRequest], seed: int) -> list[list[NoiseRequest]]:
    """Groups of one to eight that are under way at once: batches change how numbers are rounded."""
    draw, waves, rest = random.Random(seed), [], list(requests)
    while rest:
        size = draw.choice(CONCURRENCY)
        waves.append(rest[:size])
        rest = rest[size:]
    return waves


def _request(model: str, messages: list[dict[str, str]], draw: random.Random) -> NoiseRequest:
    request_id = f"{draw.getrandbits(128):032x}"
    streamed = draw.random() < STREAMED_SHARE
    fields: dict[str, Any] = {
        "model": model,
        "request_id": request_id,
        "seed": draw.getrandbits(63),
        "return_token_ids": True,
        "stream": streamed,
        "temperature": draw.choice(TEMPERATURES),
        "top_p": draw.choice(TOP_P),
        "max_tokens": draw.choice(OUTPUT_TOKENS),
    }
    if draw.random() < TOP_K_SHARE:
        fields["top_k"] = draw.choice((5, 20, 50))
    if draw.random() < PENALTY_SHARE:
        fields[draw.choice(("presence_penalty", "frequency_penalty"))] = draw.choice((0.3, 1.0))
    if fields["temperature"] and draw.random() < TWO_CHOICES_SHARE:
        fields["n"] = 2
    if len(messages) == 1 and draw.random() < COMPLETION_SHARE:
        path, fields["prompt"] = COMPLETIONS_PATH, messages[0]["content"]
    else:
        path, fields["messages"] = CHAT_PATH, messages
    return NoiseRequest(path, json.dumps(fields, ensure_ascii=False).encode(), request_id, streamed)
