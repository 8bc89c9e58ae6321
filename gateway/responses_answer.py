"""A chat's answer → a response of OpenAI's Responses API, whole or as its stream of events.

https://platform.openai.com/docs/api-reference/responses-streaming: a response has items (a message, calls of
functions), one after the other; each is added, filled and done, and the last event repeats all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.chat_pieces import ChatPiece, ToolCallPiece
from gateway.client_request import PROVENANCE_FIELD
from gateway.errors import ApiError, MinerFailure
from gateway.translated_response import sse

MAX_TEXT_CHARS = 16 << 20
"""Longest answer, since its end repeats it; the longest context makes a sixteenth of this."""

_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "user": None,
}
"""Fields of the request that a response repeats, and what stands there when the request has none."""


@dataclass
class _Item:
    """An item of the output.

    Attributes:
        call: None for the message.
    """

    id: str
    call: ToolCallPiece | None
    parts: list[str] = field(default_factory=list)
    logprobs: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def shown(self, status: str) -> dict[str, Any]:
        """The item as a client sees it; while it is in progress, it has nothing yet."""
        complete = status != "in_progress"
        if self.call is None:
            content = [_part(self.text, self.logprobs)] if complete else []
            return {
                "id": self.id,
                "type": "message",
                "status": status,
                "role": "assistant",
                "content": content,
            }
        return {
            "id": self.id,
            "type": "function_call",
            "status": status,
            "call_id": self.call.id,
            "name": self.call.name,
            "arguments": self.text if complete else "",
        }


class ResponsesWriter:
    """Writes one response.

    Args:
        model: the name that clients use.
        asked: the fields of the request.
    """

    def __init__(self, model: str, asked: Mapping[str, Any], created_at_s: int) -> None:
        self._model, self._created_at_s = model, created_at_s
        repeated = {name: asked[name] for name in _ECHOED if asked.get(name) is not None}
        self._echo = {**_ECHOED, **repeated}
        self._request_id = ""
        self._items: list[_Item] = []
        self._sequence = 0
        self._chars = 0
        self._open = False
        self._finish_reason: str | None = None
        self._prompt_tokens = self._output_tokens = 0
        self._provenance: Mapping[str, Any] = {}

    def whole(self, request_id: str, answer: ChatPiece) -> bytes:
        self.begin(request_id, answer.prompt_tokens)
        self.add(answer)
        self._open = False
        return orjson.dumps(self._response(self._status()))

    def begin(self, request_id: str, prompt_tokens: int) -> bytes:
        self._request_id, self._prompt_tokens = request_id, prompt_tokens
        return self._event("response.created", {"response": self._response("in_progress")}) + self._event(
            "response.in_progress", {"response": self._response("in_progress")}
        )

    def add(self, piece: ChatPiece) -> bytes:
        self._output_tokens += piece.output_tokens
        self._finish_reason = piece.finish_reason or self._finish_reason
        if piece.provenance is not None:
            self._provenance = {PROVENANCE_FIELD: piece.provenance}
        events = bytearray()
        if piece.content:
            if not self._open or self._items[-1].call is not None:
                events += self._start(_Item(f"msg_{self._request_id}_{len(self._items)}", None))
            events += self._words(piece)
        for call in piece.tool_calls:
            events += self._call(call)
        return bytes(events)

    def end(self) -> bytes:
        status = self._status()
        closing = self._close(status)
        return closing + self._event(f"response.{status}", {"response": self._response(status)})

    def error(self, error: ApiError) -> bytes:
        return error.body()

    def break_off(self, error: ApiError) -> bytes:
        failed = self._response("failed") | {"error": {"code": "server_error", "message": error.message}}
        return self._event("response.failed", {"response": failed})

    def _status(self) -> str:
        return "incomplete" if self._finish_reason == "length" else "completed"

    def _response(self, status: str) -> dict[str, Any]:
        ended = status in ("completed", "incomplete")
        reason = {"reason": "max_output_tokens"} if status == "incomplete" else None
        return {
            "id": f"resp_{self._request_id}",
            "object": "response",
            "created_at": self._created_at_s,
            "status": status,
            "error": None,
            "incomplete_details": reason,
            "model": self._model,
            "output": [item.shown(status if item is self._items[-1] else "completed") for item in self._items]
            if ended
            else [],
            "previous_response_id": None,
            "truncation": "disabled",
            "background": False,
            "usage": self._usage() if ended else None,
            **self._echo,
            **self._provenance,
        }

    def _usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self._prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": self._output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._prompt_tokens + self._output_tokens,
        }

    def _start(self, item: _Item) -> bytes:
        events = self._close("completed")
        self._items.append(item)
        self._open = True
        shown = {"output_index": len(self._items) - 1, "item": item.shown("in_progress")}
        events += self._event("response.output_item.added", shown)
        if item.call is None:
            events += self._event("response.content_part.added", self._place() | {"part": _part("", [])})
        return events

    def _words(self, piece: ChatPiece) -> bytes:
        self._take(piece.content)
        self._items[-1].logprobs += piece.logprobs
        delta = {"delta": piece.content, "logprobs": list(piece.logprobs)}
        return self._event("response.output_text.delta", self._place() | delta)

    def _call(self, call: ToolCallPiece) -> bytes:
        events = b""
        item = self._items[-1] if self._open else None
        if item is None or item.call is None or item.call.index != call.index:
            if call.id is None or call.name is None:
                raise MinerFailure("a tool call of its answer has no id or no name")
            if any(one.call is not None and one.call.index >= call.index for one in self._items):
                raise MinerFailure("its stream goes back to a tool call that was complete")
            events += self._start(_Item(f"fc_{self._request_id}_{len(self._items)}", call))
        if call.arguments:
            self._take(call.arguments)
            delta = self._item_place() | {"delta": call.arguments}
            events += self._event("response.function_call_arguments.delta", delta)
        return events

    def _take(self, text: str) -> None:
        self._chars += len(text)
        if self._chars > MAX_TEXT_CHARS:
            raise MinerFailure(f"its answer is longer than {MAX_TEXT_CHARS} characters")
        self._items[-1].parts.append(text)

    def _close(self, status: str) -> bytes:
        if not self._open:
            return b""
        self._open = False
        item, events = self._items[-1], b""
        if item.call is None:
            text = {"text": item.text, "logprobs": item.logprobs}
            events += self._event("response.output_text.done", self._place() | text)
            part = self._place() | {"part": _part(item.text, item.logprobs)}
            events += self._event("response.content_part.done", part)
        else:
            done = self._item_place() | {"name": item.call.name, "arguments": item.text}
            events += self._event("response.function_call_arguments.done", done)
        shown = {"output_index": len(self._items) - 1, "item": item.shown(status)}
        return events + self._event("response.output_item.done", shown)

    def _item_place(self) -> dict[str, Any]:
        return {"item_id": self._items[-1].id, "output_index": len(self._items) - 1}

    def _place(self) -> dict[str, Any]:
        return self._item_place() | {"content_index": 0}

    def _event(self, kind: str, fields: Mapping[str, Any]) -> bytes:
        self._sequence += 1
        return sse(kind, {"sequence_number": self._sequence - 1, **fields})


def _part(text: str, logprobs: list[Mapping[str, Any]]) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}
