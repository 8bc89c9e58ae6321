"""A request in Anthropic's Messages API → the fields of a chat request.

https://docs.anthropic.com/en/api/messages. Fields that Anthropic does not know go on as they are, so that
vLLM's own (`min_p`, `seed` …) and the gateway's work here too. Models take text only.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.nested_fields import objects, text_of, wrong

_RENAMED = {"stop_sequences": "stop"}
_TRANSLATED = frozenset({"messages", "system", "tools", "tool_choice", "output_config", "thinking"})
_DROPPED = frozenset(
    {"metadata", "service_tier", "cache_control", "context_management", "inference_geo", "n"}
)
"""Fields that say nothing to a model; there is one answer to a message."""

_REFUSED = frozenset({"mcp_servers", "container"})

_BILLING = "x-anthropic-billing-header"
"""A block that Claude Code puts before the system prompt, other each time; vLLM leaves it out as well."""


def chat_fields(fields: Mapping[str, Any], max_tokens_needed: bool = True) -> dict[str, Any]:
    """The body of the chat that the message stands for.

    Raises:
        ApiError: 400; says which field is wrong, under Anthropic's name for it.
    """
    for name in _REFUSED & fields.keys():
        raise wrong(name, "this gateway runs no servers for a model; leave it out")
    chat = {
        _RENAMED.get(name, name): value
        for name, value in fields.items()
        if name not in _TRANSLATED and name not in _DROPPED
    }
    if max_tokens_needed and type(fields.get("max_tokens")) is not int:
        raise wrong("max_tokens", "a whole number of tokens is required")
    if max_tokens_needed and fields["max_tokens"] < 1:
        raise wrong("max_tokens", "it must be at least 1")
    _check_thinking(fields.get("thinking"))
    chat["messages"] = [*_system(fields.get("system")), *_messages(fields.get("messages"))]
    if fields.get("tools"):
        chat["tools"] = [_tool(tool, number) for number, tool in enumerate(objects(fields["tools"], "tools"))]
        chat |= _tool_choice(fields.get("tool_choice"))
    return chat | _response_format(fields.get("output_config"))


def _check_thinking(thinking: Any) -> None:
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in ("disabled", "adaptive"):
        raise wrong("thinking", "this model does not think before it answers; leave it out")


def _system(system: Any) -> list[dict[str, Any]]:
    if system is None:
        return []
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else objects(system, "system")
    texts = [_text(block, f"system.{number}") for number, block in enumerate(blocks)]
    kept = [text for text in texts if not text.startswith(_BILLING)]
    return [{"role": "system", "content": "\n".join(kept)}] if kept else []


def _messages(messages: Any) -> Iterator[dict[str, Any]]:
    given = objects(messages, "messages")
    if not given:
        raise wrong("messages", "at least one message is required")
    for number, message in enumerate(given):
        place = f"messages.{number}"
        role = message.get("role")
        blocks = _blocks(message.get("content"), place)
        if role == "user":
            yield from _user(blocks, place)
        elif role == "assistant":
            yield _assistant(blocks, place)
        elif role == "system":
            yield {"role": "system", "content": "\n".join(_text(block, place) for block in blocks)}
        else:
            raise wrong(f"{place}.role", 'it must be "user" or "assistant"')


def _blocks(content: Any, place: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return objects(content, f"{place}.content")


def _user(blocks: list[dict[str, Any]], place: str) -> Iterator[dict[str, Any]]:
    """Results of tools as messages of their own, before and between what the user says."""
    words: list[str] = []
    for number, block in enumerate(blocks):
        here = f"{place}.content.{number}"
        if block.get("type") != "tool_result":
            words.append(_text(block, here))
            continue
        if words:
            yield {"role": "user", "content": "\n".join(words)}
            words = []
        yield {
            "role": "tool",
            "tool_call_id": text_of(block, "tool_use_id", here),
            "content": _result_text(block.get("content"), here),
        }
    if words or not blocks:
        yield {"role": "user", "content": "\n".join(words)}


def _result_text(content: Any, place: str) -> str:
    if content is None:
        return ""
    return "\n".join(_text(block, f"{place}.content") for block in _blocks(content, place))


def _assistant(blocks: list[dict[str, Any]], place: str) -> dict[str, Any]:
    words, calls = [], []
    for number, block in enumerate(blocks):
        here = f"{place}.content.{number}"
        if block.get("type") == "tool_use":
            calls.append(_call(block, here))
        elif block.get("type") not in ("thinking", "redacted_thinking"):
            words.append(_text(block, here))
    message: dict[str, Any] = {"role": "assistant", "content": "\n".join(words) if words else None}
    if calls:
        message["tool_calls"] = calls
    elif not words:
        message["content"] = ""
    return message


def _call(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    given = block.get("input")
    if not isinstance(given, dict):
        raise wrong(f"{place}.input", "it must be an object")
    function = {"name": text_of(block, "name", place), "arguments": orjson.dumps(given).decode()}
    return {"id": text_of(block, "id", place), "type": "function", "function": function}


def _text(block: Mapping[str, Any], place: str) -> str:
    if block.get("type") != "text":
        kind = str(block.get("type"))[:40]
        raise wrong(place, f"this model takes text only, no block of the type {kind!r}")
    return text_of(block, "text", place)


def _tool(tool: Mapping[str, Any], number: int) -> dict[str, Any]:
    place = f"tools.{number}"
    if tool.get("type") not in (None, "custom"):
        raise wrong(place, "this gateway runs no tools itself; give it an input_schema")
    schema = tool.get("input_schema")
    if not isinstance(schema, dict):
        raise wrong(f"{place}.input_schema", "it must be an object")
    function = {"name": text_of(tool, "name", place), "parameters": {"type": "object", **schema}}
    optional = {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": function | optional}


def _tool_choice(choice: Any) -> dict[str, Any]:
    if choice is None:
        return {"tool_choice": "auto"}
    kind = choice.get("type") if isinstance(choice, dict) else None
    words = {"auto": "auto", "any": "required", "none": "none"}
    chosen: Any
    if kind == "tool":
        function = {"name": text_of(choice, "name", "tool_choice")}
        chosen = {"type": "function", "function": function}
    elif isinstance(kind, str) and kind in words:
        chosen = words[kind]
    else:
        raise wrong("tool_choice.type", "it must be auto, any, tool or none")
    single = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    return {"tool_choice": chosen, **single}


def _response_format(config: Any) -> dict[str, Any]:
    wanted = config.get("format") if isinstance(config, dict) else None
    if wanted is None:
        return {}
    if not isinstance(wanted, dict) or not isinstance(wanted.get("schema"), dict):
        raise wrong("output_config.format", "it must have a schema")
    json_schema = {"name": "answer", "schema": wanted["schema"]}
    return {"response_format": {"type": "json_schema", "json_schema": json_schema}}
