"""An operator's own corpus of conversations, from which synthetic requests take their texts."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import ConfigError
from validator.synthetic_prompts import Opening

CANDIDATES = 24
"""Conversations among which the one of the wanted length is looked for."""


@dataclass(frozen=True)
class Conversation:
    """What a user said, and what was answered each time but, perhaps, the last."""

    system: str | None
    said: tuple[str, ...]
    answered: tuple[str, ...]


class CorpusPrompts:
    """Texts of conversations; none is used again before all of them have been."""

    def __init__(self, conversations: Sequence[Conversation]) -> None:
        self._conversations = list(conversations)
        self._unused: list[Conversation] = []
        self.system_prompts: Sequence[str] = sorted({one.system for one in conversations if one.system})

    def opening(self, turns: int, chars: int, chance: random.Random) -> Opening:
        """A conversation cut off before an answer, of those that are long enough the best in length."""
        if not self._unused:
            self._unused = chance.sample(self._conversations, len(self._conversations))
        candidates = [one for one in self._unused if len(one.said) >= turns][:CANDIDATES]
        candidates = candidates or self._unused[:CANDIDATES]
        best = min(candidates, key=lambda one: _distance(one, turns, chars))
        self._unused.remove(best)
        last = min(turns, len(best.said)) - 1
        return Opening(best.said[last], tuple(zip(best.said[:last], best.answered[:last], strict=True)))

    def follow_up(self, language: str, chars: int, chance: random.Random) -> str | None:
        """None: what a user says later stands in the same conversation of the corpus."""
        return None


def _distance(conversation: Conversation, turns: int, chars: int) -> float:
    text = conversation.said[min(turns, len(conversation.said)) - 1]
    return abs(math.log((len(text) + 1) / (chars + 1)))


def load_corpus(file: Path) -> CorpusPrompts:
    """Read JSON lines, each a list of messages or an object with `messages`.

    Raises:
        ConfigError: the file can't be read, or a line is no conversation; the message says which and why.
    """
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--synthetic-prompts {file} can't be read: {error}") from None
    conversations = [
        _conversation(line, f"--synthetic-prompts {file} line {number}")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not conversations:
        raise ConfigError(f"--synthetic-prompts {file} has no conversation; write one as JSON in each line")
    return CorpusPrompts(conversations)


def _conversation(line: str, place: str) -> Conversation:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{place} is not JSON: {error}") from None
    messages = value.get("messages") if isinstance(value, dict) else value
    texts = [_text(message, place) for message in messages] if isinstance(messages, list) else []
    system = texts.pop(0)[1] if texts and texts[0][0] == "system" else None
    if not texts or any(
        role != ("assistant" if number % 2 else "user") for number, (role, _) in enumerate(texts)
    ):
        raise ConfigError(f"{place} must be messages of user and assistant in turn, the user's first")
    said = tuple(text for role, text in texts if role == "user")
    return Conversation(system, said, tuple(text for role, text in texts if role == "assistant"))


def _text(message: Any, place: str) -> tuple[str, str]:
    if not isinstance(message, dict) or not isinstance(message.get("content"), str):
        raise ConfigError(f"{place} has a message without a role and a text as content")
    return str(message.get("role")), message["content"]
