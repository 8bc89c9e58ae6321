"""The client's side of one request, on raw ASGI: reading its body, answering it, noticing that it left."""

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send

from gateway.errors import ApiError, ClientLeft, body_too_large
from gateway.request_cycle import Receiver, RequestCycle

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The request's whole body. The server limits how long it may take.

    Raises:
        ApiError: 413; it is larger than `limit_bytes`.
        ClientLeft: the client went away in the middle.
    """
    declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if int(declared) > limit_bytes:
        raise body_too_large(limit_bytes)
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft("the client left before its request was complete")
        body += message.get("body", b"")
        if len(body) > limit_bytes:
            raise body_too_large(limit_bytes)
        if not message.get("more_body", False):
            return bytes(body)


class Response:
    """The answer to one request: one JSON body, or an event stream.

    Attributes:
        extra_headers: gives headers that every answer has, errors included.
        started: whether the client has got anything.
        finished: whether the client has got all.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._cycle: RequestCycle | None = None
        self.extra_headers: Callable[[], Mapping[str, str]] = dict
        self.started = False
        self.finished = False

    def write_through(self, receive: Receive) -> None:
        """Let `forward` use the connection that `receive` belongs to, if the gateway's own server has it."""
        if isinstance(receive, Receiver):
            self._cycle = receive.cycle

    @property
    def flows(self) -> bool:
        """Whether more events can be sent with `forward`: some have been, and the client takes what comes."""
        return self._cycle is not None and self._cycle.flows

    def forward(self, data: bytes) -> bool:
        """Send more events at once, from anywhere in the event loop; gives whether that could be done."""
        return self._cycle is not None and self._cycle.write_chunk(data)

    def answer_body(self, request_id: str, payload: dict[str, Any]) -> bytes:
        """The body of a whole answer, in the form that the client gets.

        Args:
            payload: a miner's answer to a chat or a completion, as the client may see it.

        Raises:
            MinerFailure: it is nonsense.
        """
        return orjson.dumps(payload)

    async def send_json(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Send a whole answer in JSON."""
        await self.send_text(status, body, "application/json", headers)

    async def send_text(
        self, status: int, body: bytes, content_type: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        """Send a whole answer of some type."""
        length = {"content-type": content_type, "content-length": str(len(body))}
        await self._start(status, length | dict(headers))
        await self._body(body, last=True)

    async def send_events(self, data: bytes, headers: Mapping[str, str]) -> None:
        """Send events; the first time, `headers` go before them."""
        if not self.started:
            stream = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
            await self._start(200, stream | dict(headers))
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end_events(self, data: bytes) -> None:
        """Send the last event of a stream."""
        await self._body(data, last=True)

    async def send_error(self, error: ApiError) -> None:
        """Send an error: as the answer, or as the last event of a stream that has begun."""
        if self.finished:
            return
        if self.started:
            await self.end_events(b"data: " + error.body() + b"\n\n")
        else:
            await self.send_json(error.status, error.body(), error.headers)

    async def _start(self, status: int, headers: Mapping[str, str]) -> None:
        self.started = True
        every = {**self.extra_headers(), **headers}
        encoded = [(name.encode(), value.encode()) for name, value in every.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def _body(self, data: bytes, last: bool) -> None:
        self.finished = last
        await self._send({"type": "http.response.body", "body": data, "more_body": not last})


class ClientWatch:
    """A block that is cancelled as soon as the client leaves, and then raises ClientLeft.

    The request's body must have been read. A client that leaves after the answer's end changes nothing.
    The gateway's own server calls back; behind anything that wraps `receive`, a task waits.
    """

    def __init__(self, receive: Receive, response: Response) -> None:
        self._receive, self._response = receive, response
        self._left = False
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        block = asyncio.current_task()
        assert block is not None
        self._block = block
        if isinstance(self._receive, Receiver):
            self._receive.when_left(self._leave)
        else:
            self._watcher = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if not self._response.finished:
            self._left = True
            self._block.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(self._receive, Receiver):
            self._receive.when_left(None)
        elif self._watcher is not None:
            self._watcher.cancel()
        if self._left and self._block.uncancel() == 0 and kind is asyncio.CancelledError:
            raise ClientLeft("the client left before its answer was complete") from error
