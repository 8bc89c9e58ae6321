"""A chat's answer → a message of Anthropic's Messages API, whole or as its stream of events.

https://docs.anthropic.com/en/api/messages-streaming: a message has blocks, one after the other; each is
started, filled and stopped.
"""

from typing import Any

import orjson

from gateway.chat_pieces import ChatPiece, ToolCallPiece
from gateway.client_request import PROVENANCE_FIELD
from gateway.errors import ApiError, MinerFailure
from gateway.translated_response import sse

_ERROR_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""Anthropic's names by status; others are the client's below 500, and ours from there."""

TEXT = -1
"""Stands for the open block of text, where calls of tools have their index."""


class MessagesWriter:
    """Writes one message.

    Args:
        model: the name that clients use.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._blocks = 0
        self._open: int | None = None
        self._last_call = -1
        self._stop_reason: str | None = None
        self._stop: str | None = None
        self._prompt_tokens = self._output_tokens = 0
        self._provenance: dict[str, Any] = {}

    def whole(self, request_id: str, answer: ChatPiece) -> bytes:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": answer.content}] if answer.content else []
        for call in answer.tool_calls:
            blocks.append({**_tool_use(call), "input": _arguments(call.arguments)})
        self._note(answer)
        stop_reason, stop = self._stopped(any_call=bool(answer.tool_calls))
        message = self._message(request_id, answer.prompt_tokens, answer.output_tokens)
        message |= {"content": blocks, "stop_reason": stop_reason, "stop_sequence": stop}
        return orjson.dumps(message | self._provenance)

    def begin(self, request_id: str, prompt_tokens: int) -> bytes:
        self._prompt_tokens = prompt_tokens
        return sse("message_start", {"message": self._message(request_id, prompt_tokens, 0)})

    def add(self, piece: ChatPiece) -> bytes:
        self._output_tokens += piece.output_tokens
        self._note(piece)
        events = bytearray()
        if piece.content:
            if self._open != TEXT:
                events += self._start(TEXT, {"type": "text", "text": ""})
            events += self._delta({"type": "text_delta", "text": piece.content})
        for call in piece.tool_calls:
            if self._open != call.index:
                events += self._start_call(call)
            if call.arguments:
                events += self._delta({"type": "input_json_delta", "partial_json": call.arguments})
        return bytes(events)

    def end(self) -> bytes:
        stop_reason, stop = self._stopped(any_call=self._last_call >= 0)
        delta = {"stop_reason": stop_reason, "stop_sequence": stop}
        usage = _usage(self._prompt_tokens, self._output_tokens)
        last = sse("message_delta", {"delta": delta, "usage": usage, **self._provenance})
        return self._stop_block() + last + sse("message_stop", {})

    def error(self, error: ApiError) -> bytes:
        return orjson.dumps({"type": "error", "error": _error(error)})

    def break_off(self, error: ApiError) -> bytes:
        return sse("error", {"error": _error(error)})

    def _message(self, request_id: str, prompt_tokens: int, output_tokens: int) -> dict[str, Any]:
        return {
            "id": f"msg_{request_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": _usage(prompt_tokens, output_tokens),
        }

    def _start_call(self, call: ToolCallPiece) -> bytes:
        if call.index <= self._last_call:
            raise MinerFailure("its stream goes back to a tool call that was complete")
        self._last_call = call.index
        return self._start(call.index, {**_tool_use(call), "input": {}})

    def _start(self, what: int, block: dict[str, Any]) -> bytes:
        events = self._stop_block()
        self._open = what
        events += sse("content_block_start", {"index": self._blocks, "content_block": block})
        return events + sse("ping", {}) if self._blocks == 0 else events

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return sse("content_block_delta", {"index": self._blocks, "delta": delta})

    def _stop_block(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        self._blocks += 1
        return sse("content_block_stop", {"index": self._blocks - 1})

    def _note(self, piece: ChatPiece) -> None:
        self._stop_reason = piece.finish_reason or self._stop_reason
        self._stop = piece.stop or self._stop
        if piece.provenance is not None:
            self._provenance = {PROVENANCE_FIELD: piece.provenance}

    def _stopped(self, any_call: bool) -> tuple[str, str | None]:
        """Anthropic's reason, and the stop sequence if that was it; a named tool ends with vLLM's "stop"."""
        if self._stop_reason == "length":
            return "max_tokens", None
        if self._stop is not None:
            return "stop_sequence", self._stop
        return ("tool_use" if any_call else "end_turn"), None


def _tool_use(call: ToolCallPiece) -> dict[str, Any]:
    if call.id is None or call.name is None:
        raise MinerFailure("a tool call of its answer has no id or no name")
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _arguments(text: str) -> dict[str, Any]:
    """The input of a tool; an empty one when the answer's end cut it short."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _usage(prompt_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": prompt_tokens,
        "output_tokens": output_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }


def _error(error: ApiError) -> dict[str, str]:
    own = "api_error" if error.status >= 500 else "invalid_request_error"
    return {"type": _ERROR_TYPES.get(error.status, own), "message": error.message}
