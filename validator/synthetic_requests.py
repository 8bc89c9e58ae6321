"""Writes synthetic requests: the shape of an organic request, filled with texts that are no client's.

Earlier turns of a chat are real: the auditor goes on with conversations that miners have answered to it,
because answers that the model would never have given would mark them.
"""

import json
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.inference_paths import CHAT_PATH
from validator.synthetic_prompts import Opening, PromptSource
from validator.synthetic_shapes import TEXT_FIELDS, Identity, Shape, Turn

KEPT_CONVERSATIONS = 256
"""Answered conversations that can be gone on with; the oldest make room."""

SYSTEM_PROMPT_CHOICES = 4
"""Among so many prompts of about the right length one stands for a client's own."""

HISTORY_FACTOR = 2.0
SHORT_HISTORY_CHARS = 2000
"""A history is at most twice as long as the one that it stands for, or this long: it must fit the context."""

NO_SEED = -1
"""What vLLM takes for no seed."""

SEED_LIMIT = 1 << 31
"""Seeds are below this, which every sampler takes as it is."""

Exchange = tuple[str, str]
"""What the user said, and what was answered."""


@dataclass(frozen=True)
class Draft:
    """A request to send.

    Attributes:
        body: its fields, in their order.
        talk: what goes on if it is answered.
    """

    path: str
    body: dict[str, Any]
    streamed: bool
    talk: Opening

    def encoded(self) -> bytes:
        """The body as it is sent."""
        return json.dumps(self.body, ensure_ascii=False).encode()


def with_seed(draft: Draft, chance: random.Random) -> Draft:
    """The same request with a seed, if it has none: whoever computes it twice writes the same twice."""
    if draft.body.get("seed") not in (None, NO_SEED):
        return draft
    return replace(draft, body=draft.body | {"seed": chance.randrange(SEED_LIMIT)})


class Conversations:
    """Conversations that have been answered, each gone on with at most once."""

    def __init__(self) -> None:
        self._open: list[tuple[str, tuple[Exchange, ...]]] = []

    def keep(self, language: str, exchanges: tuple[Exchange, ...]) -> None:
        """Remember a conversation whose last turn has just been answered."""
        self._open.append((language, exchanges))
        del self._open[:-KEPT_CONVERSATIONS]

    def take(self, turns: int, chars: float) -> tuple[str, tuple[Exchange, ...]] | None:
        """(language, up to `turns` exchanges of at most `chars`), of one conversation or several in turn."""
        language = ""
        found: tuple[Exchange, ...] = ()
        while len(found) < turns:
            room, left = turns - len(found), chars - _chars(found)
            fitting = [
                one
                for one in self._open
                if one[0] in (language or one[0],) and len(one[1]) <= room and _chars(one[1]) <= left
            ]
            if not fitting:
                break
            longest = max(fitting, key=lambda one: len(one[1]))
            self._open.remove(longest)
            language, found = longest[0], longest[1] + found
        return (language, found) if found else None


def _chars(exchanges: Iterable[Exchange]) -> int:
    return sum(len(said) + len(answered) for said, answered in exchanges)


class RequestWriter:
    """Fills shapes with texts of `prompts`."""

    def __init__(self, model: str, prompts: PromptSource, identity: Identity, chance: random.Random) -> None:
        self._model, self._prompts, self._chance = model, prompts, chance
        self._known_systems = {identity.of(text): text for text in prompts.system_prompts}
        self._conversations = Conversations()

    def write(self, shape: Shape) -> Draft:
        """A request of that shape."""
        talk = self._talk(shape)
        content: Any = talk.text
        if shape.path == CHAT_PATH:
            content = self._messages(shape, talk)
        filled = {"model": self._model} | dict.fromkeys(TEXT_FIELDS, content)
        body = {name: filled[name] if name in filled else shape.values[name] for name in shape.fields}
        return Draft(shape.path, body, shape.values.get("stream") is True, talk)

    def answered(self, draft: Draft, answer: str) -> None:
        """The conversation of `draft` can be gone on with."""
        if draft.talk.language and answer and draft.path == CHAT_PATH:
            said = (draft.talk.text, answer)
            self._conversations.keep(draft.talk.language, (*draft.talk.history, said))

    def _talk(self, shape: Shape) -> Opening:
        turns, chars = shape.user_turns, shape.turns[-1].chars
        if turns > 1:
            history_chars = (
                sum(turn.chars for turn in shape.turns if turn.role in ("user", "assistant")) - chars
            )
            most = max(HISTORY_FACTOR * history_chars, SHORT_HISTORY_CHARS)
            taken = self._conversations.take(turns - 1, most)
            text = self._prompts.follow_up(taken[0], chars, self._chance) if taken else None
            if taken and text is not None:
                return Opening(text, taken[1], taken[0])
        return self._prompts.opening(turns, chars, self._chance)

    def _messages(self, shape: Shape, talk: Opening) -> list[dict[str, Any]]:
        texts = [text for exchange in talk.history for text in exchange] + [talk.text]
        spoken = [turn for turn in shape.turns if turn.role in ("user", "assistant")][-len(texts) :]
        messages = [_message(turn, text) for turn, text in zip(spoken, texts, strict=True)]
        if shape.system is not None:
            messages.insert(0, _message(shape.system, self._system_prompt(shape.system)))
        return messages

    def _system_prompt(self, turn: Turn) -> str:
        """The same for the same client's prompt: itself if it is a known one, else one of similar length."""
        if turn.identity in self._known_systems:
            return self._known_systems[turn.identity]
        return stand_in(turn, self._prompts.system_prompts)


def stand_in(turn: Turn, prompts: Sequence[str]) -> str:
    """A system prompt for one that must not be repeated; "" when there is none."""
    by_distance = sorted(prompts, key=lambda text: abs(math.log((len(text) + 1) / (turn.chars + 1))))
    near = by_distance[:SYSTEM_PROMPT_CHOICES]
    return random.Random(turn.identity).choice(near) if near else ""


def _message(turn: Turn, text: str) -> dict[str, Any]:
    content: Any = [{"type": "text", "text": text}] if turn.as_parts else text
    fields = {"role": turn.role, "content": content}
    return dict(reversed(fields.items())) if turn.content_first else fields
