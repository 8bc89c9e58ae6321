"""The shapes of requests before any client has been seen: what is published about chats with language models.

Turns (2.0 a conversation) and lengths (69.5 tokens a prompt, at about four characters each) are the means of
LMSYS-Chat-1M (Zheng et al. 2024, table 1); lengths are log-normal, as heavy-tailed as such traffic is.
Which parameters clients set, and to what, is what the documentation of OpenAI's API and of common libraries
shows in its examples.
"""

import math
import random
from typing import Any

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from validator.synthetic_shapes import Role, Shape, Turn

MEDIAN_PROMPT_CHARS = 110.0
PROMPT_CHARS_SIGMA = 1.35
"""The mean of this log-normal distribution is 110·exp(1.35²/2) = 274 characters."""

LONGEST_PROMPT_CHARS = 6000
ANSWER_CHARS = 860
"""214.5 tokens an answer, by the same table."""

ANOTHER_TURN = 0.5
"""Chance of one more turn: geometric, 2.0 on average."""

MOST_TURNS = 8
CHAT_SHARE = 0.9
SYSTEM_SHARE = 0.4
SYSTEM_CHARS = (29, 29, 41, 88, 180)


def prior_shape(chance: random.Random) -> Shape:
    """One shape of a request that some client could send."""
    is_chat = chance.random() < CHAT_SHARE
    values = _parameters(chance)
    text_field = "messages" if is_chat else "prompt"
    return Shape(
        path=CHAT_PATH if is_chat else COMPLETIONS_PATH,
        fields=("model", text_field, *values),
        values=values,
        turns=_chat(chance) if is_chat else (_turn("user", _prompt_chars(chance)),),
    )


def _turn(role: Role, chars: int) -> Turn:
    return Turn(role=role, chars=chars)


def _prompt_chars(chance: random.Random) -> int:
    chars = chance.lognormvariate(math.log(MEDIAN_PROMPT_CHARS), PROMPT_CHARS_SIGMA)
    return max(2, min(LONGEST_PROMPT_CHARS, round(chars)))


def _chat(chance: random.Random) -> tuple[Turn, ...]:
    turns = []
    if chance.random() < SYSTEM_SHARE:
        chars = chance.choice(SYSTEM_CHARS)
        turns.append(Turn(role="system", chars=chars, identity=f"prior-{chars}"))
    asked = 1
    while asked < MOST_TURNS and chance.random() < ANOTHER_TURN:
        asked += 1
        turns += [_turn("user", _prompt_chars(chance)), _turn("assistant", ANSWER_CHARS)]
    return (*turns, _turn("user", _prompt_chars(chance)))


def _parameters(chance: random.Random) -> dict[str, Any]:
    """Parameters in a usual order, each set as often as examples set it."""
    choices: tuple[tuple[str, float, tuple[Any, ...]], ...] = (
        ("temperature", 0.6, (0, 0.0, 0.2, 0.5, 0.7, 0.7, 0.8, 1, 1.0)),
        ("max_tokens", 0.75, (64, 100, 128, 150, 256, 256, 300, 500, 512, 1000, 1024)),
        ("top_p", 0.2, (0.9, 0.95, 1, 1.0)),
        ("n", 0.03, (1, 2)),
        ("stop", 0.06, ("\n\n", ["\n"], ["###"], None)),
        ("presence_penalty", 0.05, (0, 0.0, 0.5, 0.6)),
        ("frequency_penalty", 0.05, (0, 0.0, 0.2, 0.5)),
        ("seed", 0.06, (0, 1, 42, 42, 1234)),
        ("store", 0.02, (False,)),
        ("stream", 0.7, (True, True, True, True, True, True, False)),
    )
    values = {name: chance.choice(options) for name, share, options in choices if chance.random() < share}
    if values.get("stream") and chance.random() < 0.3:
        values["stream_options"] = {"include_usage": True}
    return values
