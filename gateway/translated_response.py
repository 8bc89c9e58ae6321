"""An answer in another API's form: takes what a miner says to a chat, and sends it translated.

Streams are translated event by event, as they come.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import orjson
from starlette.types import Send

from gateway.chat_pieces import ChatPiece, piece_of_answer, piece_of_event
from gateway.client_connection import Response
from gateway.errors import ApiError
from gateway.event_stream import DONE, EventSplitter
from gateway.miner_answer import json_object_of


class AnswerWriter(Protocol):
    """Writes one answer in one API's form; for streams it keeps where it is."""

    def whole(self, request_id: str, answer: ChatPiece) -> bytes:
        """The body of a whole answer."""
        ...

    def begin(self, request_id: str, prompt_tokens: int) -> bytes:
        """The events before the first word."""
        ...

    def add(self, piece: ChatPiece) -> bytes:
        """The events that a piece makes; may be empty."""
        ...

    def end(self) -> bytes:
        """The last events of a complete answer."""
        ...

    def error(self, error: ApiError) -> bytes:
        """The body of an error."""
        ...

    def break_off(self, error: ApiError) -> bytes:
        """The last events of a stream that ends in an error."""
        ...


class TranslatedResponse(Response):
    """A response that is written by an AnswerWriter, a new one for each attempt at a miner."""

    def __init__(self, send: Send, new_writer: Callable[[], AnswerWriter]) -> None:
        super().__init__(send)
        self._new_writer = new_writer
        self._begin("")

    def _begin(self, request_id: str) -> None:
        self._request_id = request_id
        self._writer, self._splitter, self._begun = self._new_writer(), EventSplitter(), False

    def answer_body(self, request_id: str, payload: dict[str, Any]) -> bytes:
        self._begin(request_id)
        return self._writer.whole(request_id, piece_of_answer(payload))

    async def send_json(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        await super().send_json(status, body, _with_id(headers))

    async def send_events(self, data: bytes, headers: Mapping[str, str]) -> None:
        if headers and headers["x-request-id"] != self._request_id:
            self._begin(headers["x-request-id"])
        events = self._translated(data)
        if events:
            await super().send_events(events, _with_id(headers) if headers else headers)

    def forward(self, data: bytes) -> bool:
        if not self.flows:
            return False
        events = self._translated(data)
        return not events or super().forward(events)

    async def end_events(self, data: bytes) -> None:
        await super().end_events(self._translated(data) + self._writer.end())

    def _translated(self, data: bytes) -> bytes:
        events = bytearray()
        for event in self._splitter.feed(data):
            if event.data is None or event.data.strip() == DONE:
                continue
            piece = piece_of_event(json_object_of(event.data))
            if not self._begun:
                events += self._writer.begin(self._request_id, piece.prompt_tokens)
                self._begun = True
            events += self._writer.add(piece)
        return bytes(events)

    async def send_error(self, error: ApiError) -> None:
        if self.finished:
            return
        if self.started:
            await super().end_events(self._writer.break_off(error))
        else:
            await super().send_json(error.status, self._writer.error(error), error.headers)


def _with_id(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Headers with the request's id under Anthropic's name, too."""
    return {**headers, "request-id": headers["x-request-id"]}


def sse(kind: str, fields: Mapping[str, Any]) -> bytes:
    """A server-sent event that names its type twice, as both APIs do."""
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"
