"""The tool calls that a text of the model's holds, as vLLM shows them to a client.

Three forms: a call that the request names, whose arguments are the whole text; a list of calls that the
request requires; and calls between marks that the model writes by itself
(`vllm/tool_parsers/hermes_tool_parser.py`). What vLLM shows of other forms, and of unfinished or unusual
ones, depends on its parser, and is not told here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shared.shown_tool_calls import tool_calls_digest
from validator.detokenization import CALL_MARK

CALL_END = "</tool_call>"
"""The mark after a call that begins with CALL_MARK."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
"""Names that every parser reads alike."""


@dataclass(frozen=True)
class ToolCalls:
    """Calls, and what stands before them.

    Attributes:
        contents: texts that may be shown beside the calls: blank ones may be left out.
        calls: name and arguments of each.
    """

    contents: tuple[str, ...]
    calls: tuple[tuple[str, str], ...]

    @property
    def sha256(self) -> str:
        """The digest that a gateway records of them."""
        return tool_calls_digest(self.calls)


def tool_calls_of(text: str, tool_choice: Any) -> list[ToolCalls]:
    """Every reading of a finished text as tool calls; none when it holds none that are told here.

    Args:
        tool_choice: the request's, as OpenAI's API has it.
    """
    found = [_marked(text)]
    if name := named_function(tool_choice):
        found.append(ToolCalls(("",), ((name, text),)) if _is_json(text) else None)
    if tool_choice == "required":
        found.append(_listed(text))
    return [one for one in found if one is not None]


def named_function(tool_choice: Any) -> str | None:
    """The function that a request wants called."""
    function = tool_choice.get("function") if isinstance(tool_choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _marked(text: str) -> ToolCalls | None:
    before, *parts = text.split(CALL_MARK)
    calls = []
    for part in parts:
        inner, mark, _ = part.partition(CALL_END)
        call = _call(inner, "arguments") if mark else None
        if call is None:
            return None
        calls.append(call)
    contents = (before,) if before.strip() else (before, "")
    return ToolCalls(contents, tuple(calls)) if calls else None


def _listed(text: str) -> ToolCalls | None:
    try:
        items = orjson.loads(text)
    except ValueError:
        return None
    if not isinstance(items, list) or not items:
        return None
    calls = [_call_of(item, "parameters") for item in items]
    return ToolCalls(("",), tuple(one for one in calls if one)) if all(calls) else None


def _call(inner: str, key: str) -> tuple[str, str] | None:
    try:
        return _call_of(orjson.loads(inner), key)
    except ValueError:
        return None


def _call_of(item: Any, key: str) -> tuple[str, str] | None:
    """A call in the order that all parsers read: its name, then its arguments, and nothing else."""
    if not isinstance(item, dict) or list(item) != ["name", key]:
        return None
    name = item["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name) or not isinstance(item[key], dict):
        return None
    try:
        return name, orjson.dumps(item[key]).decode()
    except TypeError:
        return None


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def writes_calls(texts: Sequence[str]) -> bool:
    """Whether a call begins in any of these texts."""
    return any(CALL_MARK in text for text in texts)
