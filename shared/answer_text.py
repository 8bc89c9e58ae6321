"""The words of an answer that a client is shown: where they stand, and their digest as they come."""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

from shared.errors import MalformedMessage
from shared.shown_tool_calls import ShownToolCalls

TextPlace = Literal["delta", "message", "text"]
"""The field of a choice in which a client looks: `delta.content` in streams of chats, `message.content` in
their whole answers, `text` in completions. Words anywhere else are not what the client reads."""

BesideText = Literal["tool_calls", "function_call", "reasoning", "reasoning_content", "refusal", "audio"]
"""Fields next to `content` in which a client is shown something else (OpenAI's and vLLM's)."""

_BESIDE: tuple[BesideText, ...] = get_args(BesideText)
_BESIDE_NAMES = frozenset(_BESIDE)


def text_place(chat: bool, streamed: bool) -> TextPlace:
    """Where a client finds the text of one choice."""
    if not chat:
        return "text"
    return "delta" if streamed else "message"


class AnswerText:
    """The text of one choice, digested part by part; the words themselves are not kept.

    Attributes:
        size_bytes: its length so far, in UTF-8.
        without_ids_bytes: how much of it came in parts that brought no token ids.
        tool_calls: what the client was shown of calls of its tools.
    """

    def __init__(self, place: TextPlace) -> None:
        self._place = place
        self._name = "text" if place == "text" else "content"
        self._digest = hashlib.sha256()
        self._beside: set[BesideText] = set()
        self.tool_calls = ShownToolCalls()
        self.size_bytes = 0
        self.without_ids_bytes = 0

    def add(self, choice: Mapping[str, Any], brings_ids: bool) -> None:
        """Take in one event's choice, or the whole answer's.

        Raises:
            MalformedMessage: what stands where text or tool calls belong is something else.
        """
        part = choice if self._place == "text" else choice.get(self._place)
        if not isinstance(part, dict):
            return
        words = part.get(self._name)
        if len(part) > 1 or words is None:
            self._note_beside(part)
        if words is None:
            return
        if not isinstance(words, str):
            raise MalformedMessage(f"the {self._name} of a choice must be a text or null")
        data = words.encode()
        self._digest.update(data)
        self.size_bytes += len(data)
        if not brings_ids:
            self.without_ids_bytes += len(data)

    def _note_beside(self, part: Mapping[str, Any]) -> None:
        for name in _BESIDE_NAMES.intersection(part):
            if part[name]:
                self._beside.add(name)
                if name == "tool_calls":
                    self.tool_calls.add(part[name])

    @property
    def sha256(self) -> str:
        """SHA-256 of the text so far, in hexadecimal."""
        return self._digest.hexdigest()

    @property
    def beside(self) -> tuple[BesideText, ...]:
        """Fields that showed the client something else, in a fixed order."""
        return tuple(name for name in _BESIDE if name in self._beside)

    @property
    def shows_anything(self) -> bool:
        """Whether the client was shown anything at all."""
        return bool(self.size_bytes or self._beside)
