"""What the messages of a chat may be: shapes that no chat has are refused before a miner sees them.

vLLM refuses most of them itself; at tool calls whose arguments nest too deep its parser fails, and a miner
would be charged with a client's malice.
"""

import re
from collections.abc import Mapping
from typing import Any

from gateway.errors import ApiError, invalid_request

MAX_NESTING = 32
"""Deepest list or object. Tool schemas nest about ten deep; parsers of miners fail near 200."""

_STRING = re.compile(r'"(?:[^"\\]+|\\.)*"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def check_messages(fields: Mapping[str, Any]) -> None:
    """Check the messages of a chat.

    Raises:
        ApiError: 400; says which message is wrong, and what is expected.
    """
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise invalid_request("messages must be a list with at least one message.", "messages")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _wrong(f"[{number}] must be an object with a role")
        content = message.get("content")
        if content is not None and not isinstance(content, str):
            _check_parts(content, number)
        if message.get("tool_calls") is not None:
            _check_calls(message["tool_calls"], number)


def _check_parts(content: Any, number: int) -> None:
    if not isinstance(content, list):
        raise _wrong(f"[{number}].content must be a text, a list of parts, or null")
    for place, part in enumerate(content):
        if isinstance(part, str):
            continue
        if not isinstance(part, dict) or not isinstance(part.get("type", ""), str):
            raise _wrong(f"[{number}].content[{place}] must be an object with a type")


def _check_calls(calls: Any, number: int) -> None:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise _wrong(f"[{number}].tool_calls must be a list of objects")
    for place, call in enumerate(calls):
        function = call.get("function")
        arguments = function.get("arguments") if isinstance(function, dict) else None
        if isinstance(arguments, str) and nests_too_deep(arguments):
            raise _wrong(
                f"[{number}].tool_calls[{place}].function.arguments nests lists and objects more than "
                f"{MAX_NESTING} deep"
            )


def nests_too_deep(text: str) -> bool:
    """Whether a text that should be JSON has more than MAX_NESTING lists and objects open at once."""
    if text.count("[") + text.count("{") <= MAX_NESTING:
        return False
    depth = 0
    for bracket in _BRACKET.findall(_STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def _wrong(what: str) -> ApiError:
    return invalid_request(f"messages{what}.", "messages")
