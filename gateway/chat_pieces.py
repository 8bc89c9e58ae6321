"""What a miner's chat answer says, event by event or as a whole, read strictly: it is translated further.

Only the first choice is read: the APIs that are translated have no others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.client_request import PROVENANCE_FIELD
from gateway.errors import MinerFailure
from gateway.metering import choices_of

MOST_TOOL_CALLS = 128
"""Calls in one answer."""

MOST_NAME_CHARS = 256
"""Of a tool's name, or a call's id."""


@dataclass(frozen=True)
class ToolCallPiece:
    """Part of the call number `index`; id and name come once, arguments bit by bit."""

    index: int
    id: str | None
    name: str | None
    arguments: str


class ChatPiece(NamedTuple):
    """What one event, or a whole answer, adds.

    Attributes:
        finish_reason: vLLM's word for why the answer ended; None while it goes on.
        stop: the stop string that ended it.
        prompt_tokens, output_tokens: of this piece; counted, not claimed, in streams.
        logprobs: of its tokens, as OpenAI's chats have them.
        provenance: what the gateway itself adds about the answer's origin; None where the client did not ask.
    """

    content: str = ""
    tool_calls: tuple[ToolCallPiece, ...] = ()
    finish_reason: str | None = None
    stop: str | None = None
    prompt_tokens: int = 0
    output_tokens: int = 0
    logprobs: tuple[Mapping[str, Any], ...] = ()
    provenance: Mapping[str, Any] | None = None


def piece_of_event(payload: Mapping[str, Any]) -> ChatPiece:
    """What one event of a stream adds.

    Raises:
        MinerFailure: it has not the shape of a chat's event.
    """
    prompt = _length(payload.get("prompt_token_ids"))
    choice = _first_choice(payload)
    if choice is None:
        return ChatPiece(prompt_tokens=prompt, provenance=payload.get(PROVENANCE_FIELD))
    return _piece(choice, "delta", prompt, _length(choice.get("token_ids")))


def piece_of_answer(payload: Mapping[str, Any]) -> ChatPiece:
    """What a whole answer says.

    Raises:
        MinerFailure: it has not the shape of a chat's answer.
    """
    choice, usage = _first_choice(payload), payload.get("usage")
    if choice is None:
        raise MinerFailure("its answer has no choices")
    if not isinstance(usage, dict):
        raise MinerFailure("its answer has no usage")
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, output = (count if type(count) is int and count >= 0 else None for count in counts)
    if prompt is None or output is None:
        raise MinerFailure("its usage has no numbers of tokens")
    piece = _piece(choice, "message", prompt, output)
    return piece._replace(provenance=payload.get(PROVENANCE_FIELD))


def _first_choice(payload: Mapping[str, Any]) -> dict[str, Any] | None:
    return next((choice for choice in choices_of(payload) if choice.get("index") == 0), None)


def _piece(choice: Mapping[str, Any], place: str, prompt: int, output: int) -> ChatPiece:
    part = choice.get(place)
    if not isinstance(part, dict):
        raise MinerFailure(f"a choice has no {place}")
    return ChatPiece(
        content=_text(part, "content") or "",
        tool_calls=_tool_calls(part.get("tool_calls")),
        finish_reason=_text(choice, "finish_reason"),
        stop=choice["stop_reason"] if isinstance(choice.get("stop_reason"), str) else None,
        prompt_tokens=prompt,
        output_tokens=output,
        logprobs=_logprobs(choice.get("logprobs")),
    )


def _tool_calls(value: Any) -> tuple[ToolCallPiece, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(call, dict) for call in value):
        raise MinerFailure("its tool_calls are not a list of objects")
    return tuple(_tool_call(call, number) for number, call in enumerate(value))


def _tool_call(call: Mapping[str, Any], number: int) -> ToolCallPiece:
    index, function = call.get("index", number), call.get("function") or {}
    if type(index) is not int or not 0 <= index < MOST_TOOL_CALLS:
        raise MinerFailure(f"a tool call's index must be from 0 to {MOST_TOOL_CALLS - 1}")
    if not isinstance(function, dict):
        raise MinerFailure("a tool call's function is not an object")
    return ToolCallPiece(
        index, _name(call, "id"), _name(function, "name"), _text(function, "arguments") or ""
    )


def _name(fields: Mapping[str, Any], name: str) -> str | None:
    text = _text(fields, name)
    if text is not None and len(text) > MOST_NAME_CHARS:
        raise MinerFailure(f"a tool call's {name} is longer than {MOST_NAME_CHARS} characters")
    return text or None


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise MinerFailure(f"the {name} of its answer is not a text")
    return value


def _length(token_ids: Any) -> int:
    return len(token_ids) if isinstance(token_ids, list) else 0


def _logprobs(value: Any) -> tuple[Mapping[str, Any], ...]:
    content = value.get("content") if isinstance(value, dict) else None
    return tuple(one for one in content if isinstance(one, dict)) if isinstance(content, list) else ()
