"""A request in OpenAI's Responses API → the fields of a chat request.

https://platform.openai.com/docs/api-reference/responses. A response here is one answer of the model: nothing
is kept to be continued or fetched, and no tools are run. Unknown fields go on as they are.
"""

from collections.abc import Mapping
from typing import Any

from gateway.message_checks import MAX_NESTING, nests_too_deep
from gateway.nested_fields import objects, text_of, wrong

_RENAMED = {"max_output_tokens": "max_tokens"}
_TRANSLATED = frozenset(
    {"input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "top_logprobs"}
)
_DROPPED = frozenset(
    {
        *("metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("service_tier", "stream_options", "max_tool_calls", "truncation", "background", "n"),
    }
)
"""Fields that say nothing to a model, or have only one value here (`_check_unserved`)."""

_UNSERVED = {
    "previous_response_id": "responses are not kept here; send the whole conversation as input",
    "conversation": "conversations are not kept here; send the whole conversation as input",
    "prompt": "there are no stored prompts here; send the text as instructions and input",
    "background": "there are no background responses here; stream instead",
}

_LOGPROBS = "message.output_text.logprobs"
_TEXTS = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
"""Parts of a message that are text: where each type keeps it."""

_ROLES = frozenset({"user", "assistant", "system", "developer"})


def chat_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The body of the chat that the response is the answer to.

    Raises:
        ApiError: 400; says which field is wrong, under its name in the Responses API.
    """
    _check_unserved(fields)
    chat = {
        _RENAMED.get(name, name): value
        for name, value in fields.items()
        if name not in _TRANSLATED and name not in _DROPPED and value is not None
    }
    chat["messages"] = [*_instructions(fields.get("instructions")), *_conversation(fields.get("input"))]
    if fields.get("tools"):
        chat["tools"] = [_tool(tool, number) for number, tool in enumerate(objects(fields["tools"], "tools"))]
        chat["tool_choice"] = _tool_choice(fields.get("tool_choice"))
    effort = _object(fields.get("reasoning"), "reasoning").get("effort")
    if effort is not None:
        chat["reasoning_effort"] = effort
    return chat | _response_format(fields.get("text")) | _logprobs(fields)


def _check_unserved(fields: Mapping[str, Any]) -> None:
    for name, words in _UNSERVED.items():
        if fields.get(name):
            raise wrong(name, words)
    if fields.get("truncation") not in (None, "disabled"):
        raise wrong("truncation", 'a conversation is never cut here; use "disabled"')
    limit = fields.get("max_output_tokens")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise wrong("max_output_tokens", "it must be a whole number of tokens from 1")


def _instructions(text: Any) -> list[dict[str, Any]]:
    if text is None:
        return []
    if not isinstance(text, str):
        raise wrong("instructions", "it must be a text")
    return [{"role": "system", "content": text}]


def _conversation(given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    items = objects(given, "input", "a text or a list of objects")
    if not items:
        raise wrong("input", "at least one item is required")
    messages: list[dict[str, Any]] = []
    for number, item in enumerate(items):
        _add_item(messages, item, f"input[{number}]")
    if not messages:
        raise wrong("input", "there is nothing in it that a model could answer")
    return messages


def _add_item(messages: list[dict[str, Any]], item: Mapping[str, Any], place: str) -> None:
    kind = item.get("type", "message")
    if kind == "message":
        messages.append(_message(item, place))
    elif kind == "function_call":
        _add_call(messages, item, place)
    elif kind == "function_call_output":
        call_id, output = text_of(item, "call_id", place), _content(item.get("output"), f"{place}.output")
        messages.append({"role": "tool", "tool_call_id": call_id, "content": output})
    elif kind != "reasoning":
        raise wrong(place, f"items of the type {str(kind)[:40]!r} are not served here")


def _message(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise wrong(f"{place}.role", "it must be user, assistant, system or developer")
    return {"role": role, "content": _content(item.get("content"), f"{place}.content")}


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any], place: str) -> None:
    """Calls belong to the assistant's message before them; the same message has all that follow."""
    function = {"name": text_of(item, "name", place), "arguments": text_of(item, "arguments", place)}
    if nests_too_deep(function["arguments"]):
        raise wrong(f"{place}.arguments", f"it nests lists and objects more than {MAX_NESTING} deep")
    call = {"id": text_of(item, "call_id", place), "type": "function", "function": function}
    if not messages or messages[-1]["role"] != "assistant":
        messages.append({"role": "assistant", "content": None})
    messages[-1].setdefault("tool_calls", []).append(call)


def _content(content: Any, place: str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_text(part, place) for part in objects(content, place, "a text or a list of objects"))


def _text(part: Mapping[str, Any], place: str) -> str:
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _TEXTS:
        raise wrong(place, f"this model takes text only, no part of the type {str(kind)[:40]!r}")
    return text_of(part, _TEXTS[kind], place)


def _tool(tool: Mapping[str, Any], number: int) -> dict[str, Any]:
    place = f"tools[{number}]"
    if tool.get("type") != "function":
        raise wrong(place, "this gateway runs no tools itself; only tools of the type function are served")
    function = {"name": text_of(tool, "name", place)}
    optional = ("description", "parameters", "strict")
    return {
        "type": "function",
        "function": function | {name: tool[name] for name in optional if tool.get(name) is not None},
    }


def _tool_choice(choice: Any) -> Any:
    if choice is None:
        return "auto"
    if isinstance(choice, str) and choice in ("auto", "none", "required"):
        return choice
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": text_of(choice, "name", "tool_choice")}}
    raise wrong("tool_choice", "it must be auto, none, required, or name a function")


def _response_format(text: Any) -> dict[str, Any]:
    wanted = _object(_object(text, "text").get("format"), "text.format")
    kind = wanted.get("type", "text")
    if kind == "text":
        return {}
    if kind == "json_object":
        return {"response_format": {"type": "json_object"}}
    if kind != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise wrong("text.format", "it must be text, json_object, or json_schema with a schema")
    names = ("name", "schema", "description", "strict")
    schema = {"name": "answer"} | {name: wanted[name] for name in names if wanted.get(name) is not None}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _logprobs(fields: Mapping[str, Any]) -> dict[str, Any]:
    include = fields.get("include")
    wanted = isinstance(include, list) and _LOGPROBS in include
    top = fields.get("top_logprobs")
    if not wanted and not top:
        return {}
    return {"logprobs": True} | ({} if top is None else {"top_logprobs": top})


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(place, "it must be an object")
    return value
