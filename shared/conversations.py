"""Chat messages as a client sends them → the conversation that vLLM hands to a chat template.

Follows `vllm/renderers/chat_utils.py` (`parse_chat_messages`). What vLLM would refuse, or what needs more
than text, raises NotReproducible.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from typing import Any

from shared.chat_templates import ChatTemplate
from shared.errors import NotReproducible
from shared.unquoted import part_type_in_words, role_in_words

_TEXT_KEYS = {"text": "text", "refusal": "refusal"}
"""Content parts that are text: where each type keeps it."""

_STRIPPED_SYSTEM_PREFIX = "x-anthropic-billing-header"
"""vLLM strips a line that starts so from system messages; no other client sends it."""


def conversation(messages: Sequence[Mapping[str, Any]], template: ChatTemplate) -> list[dict[str, Any]]:
    """The messages in the template's form.

    Raises:
        NotReproducible: a message holds something that is not text, or is malformed.
    """
    converted = [_message(message, template.loops_over_parts) for message in messages]
    if template.knows_developer or not any(message["role"] == "developer" for message in converted):
        return converted
    return _one_system_message([_as_system(message) for message in converted])


def _message(message: Mapping[str, Any], as_parts: bool) -> dict[str, Any]:
    role = message.get("role")
    if not isinstance(role, str):
        raise NotReproducible("a message has no role")
    if message.get("task") is not None or message.get("tools") is not None:
        raise NotReproducible(f"a message of {role_in_words(role)} carries a task or tools of its own")
    result: dict[str, Any] = {"role": role, "content": _content(role, message.get("content"), as_parts)}
    if role == "assistant":
        result |= _assistant_fields(message)
    elif role == "tool":
        result |= _tool_fields(message, result["content"])
    elif role == "developer":
        result["tools"] = None
    if isinstance(message.get("name"), str):
        result["name"] = message["name"]
    return result


def _content(role: str, content: Any, as_parts: bool) -> str | list[dict[str, str]]:
    given = [] if content is None else [content] if isinstance(content, str) else content
    if not isinstance(given, list):
        raise NotReproducible(f"the content of a message of {role_in_words(role)} is neither text nor a list")
    texts = [text for text in (_part_text(part, as_parts) for part in given) if text is not None]
    if role == "system" and any(text.startswith(_STRIPPED_SYSTEM_PREFIX) for text in texts):
        raise NotReproducible("a system message begins with a billing header, which vLLM edits")
    return [{"type": "text", "text": text} for text in texts] if as_parts else "\n".join(texts)


def _part_text(part: Any, as_parts: bool) -> str | None:
    if isinstance(part, str):
        return part
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str) or kind not in _TEXT_KEYS:
        words = part_type_in_words(kind)
        raise NotReproducible(f"a message has content of {words}; only text can be rendered again")
    if as_parts and set(part) - {"type", _TEXT_KEYS[kind]}:
        raise NotReproducible("a content part has fields of its own, which the template may read")
    text = part.get(_TEXT_KEYS[kind])
    if text is not None and not isinstance(text, str):
        raise NotReproducible("a content part of text holds something else")
    return text


def _assistant_fields(message: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    calls = message.get("tool_calls")
    if calls:
        if not isinstance(calls, list):
            raise NotReproducible("the tool calls of an assistant message are not a list")
        fields["tool_calls"] = [_tool_call(call) for call in calls]
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = message.get("reasoning_content")
    if reasoning is not None:
        fields |= {"reasoning": reasoning, "reasoning_content": reasoning}
    return fields


def _tool_fields(message: Mapping[str, Any], content: str | list[dict[str, str]]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if "tool_call_id" in message:
        fields["tool_call_id"] = message["tool_call_id"]
    if isinstance(content, list):
        fields["content"] = "\n".join(part["text"] for part in content)
    return fields


def _tool_call(call: Any) -> dict[str, Any]:
    """One tool call, its arguments as an object; fields in the order of vLLM's own parsed form."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or call.get("type", "function") != "function":
        raise NotReproducible("an assistant message has a tool call that is not of the type function")
    if set(call) - {"id", "type", "function"} or set(function) - {"name", "arguments"}:
        raise NotReproducible("an assistant message has a tool call with fields of its own")
    result: dict[str, Any] = {"id": call["id"]} if "id" in call else {}
    result["function"] = {"arguments": _arguments(function.get("arguments")), "name": function.get("name")}
    return result | ({"type": call["type"]} if "type" in call else {})


def _arguments(given: Any) -> dict[str, Any]:
    if isinstance(given, str) and given:
        try:
            given = json.loads(given)
        except json.JSONDecodeError:
            return {}
        except (ValueError, RecursionError):
            words = "the arguments of a tool call nest too deep, or have too large a number"
            raise NotReproducible(words) from None
    return copy.deepcopy(given) if isinstance(given, dict) else {}


def _as_system(message: dict[str, Any]) -> dict[str, Any]:
    if message["role"] != "developer":
        return message
    return {name: value for name, value in message.items() if name != "tools"} | {"role": "system"}


def _flat_text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _one_system_message(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All system messages merged into one in front, unless the only one is there already."""
    places = [number for number, message in enumerate(messages) if message["role"] == "system"]
    if places == [0]:
        return messages
    texts = [_flat_text(messages[place]["content"]) for place in places]
    merged = {"role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [merged, *(message for message in messages if message["role"] != "system")]
