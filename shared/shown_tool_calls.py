"""The tool calls that a client is shown beside an answer's text: gathered as they come, and their digest."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from shared.canonical import canonical_json, sha256_hex
from shared.errors import MalformedMessage

MAX_CALLS = 256
"""Most tool calls of one choice; an answer of 2,000 tokens holds about a hundred at most."""

MAX_CALL_BYTES = 1 << 20
"""Longest names and arguments of one choice together, in characters."""


_SORTED = orjson.OPT_SORT_KEYS


class ShownToolCalls:
    """The tool calls of one choice, from the parts of a stream or from the whole answer."""

    def __init__(self) -> None:
        self._calls: dict[int, list[str]] = {}
        self._size = 0

    def add(self, value: Any) -> None:
        """Take in the `tool_calls` of one message or delta.

        Raises:
            MalformedMessage: it is no list of calls of functions, or there are too many of them.
        """
        if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
            raise MalformedMessage("tool_calls must be a list of objects")
        for place, one in enumerate(value):
            self._add(one.get("index", place), one.get("function"))

    def _add(self, index: Any, function: Any) -> None:
        if type(index) is not int or not 0 <= index < MAX_CALLS:
            raise MalformedMessage(f"the index of a tool call must be from 0 to {MAX_CALLS - 1}")
        call = self._calls.setdefault(index, ["", ""])
        if function is None:
            return
        if not isinstance(function, Mapping):
            raise MalformedMessage("the function of a tool call must be an object")
        for place, name in enumerate(("name", "arguments")):
            words = function.get(name)
            if words is None:
                continue
            if not isinstance(words, str):
                raise MalformedMessage(f"the {name} of a tool call must be a text")
            call[place] += words
            self._size += len(words)
        if self._size > MAX_CALL_BYTES:
            raise MalformedMessage(f"its tool calls are longer than {MAX_CALL_BYTES} characters")

    @property
    def sha256(self) -> str | None:
        """The digest of all calls in order; None when none was shown."""
        if not self._calls:
            return None
        return tool_calls_digest([(name, arguments) for _, (name, arguments) in sorted(self._calls.items())])


def tool_calls_digest(calls: Sequence[tuple[str, str]]) -> str:
    """SHA-256 over names and arguments; how arguments that are JSON are laid out plays no part.

    Streams and whole answers of vLLM lay out the same arguments differently.
    """
    return sha256_hex(canonical_json([_plain(name, arguments) for name, arguments in calls]))


def _plain(name: str, arguments: str) -> dict[str, str]:
    try:
        return {"name": name, "arguments": orjson.dumps(orjson.loads(arguments), option=_SORTED).decode()}
    except (ValueError, TypeError):
        return {"name": name, "text": arguments}
