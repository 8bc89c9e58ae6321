"""One request and its answer on a client's connection: uvicorn's cycle, with less work per answer."""

from collections.abc import Callable
from typing import Any

from starlette.types import Message
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Receiver:
    """The `receive` of an ASGI application that can also call back when the client leaves.

    Attributes:
        cycle: the request that it belongs to.
    """

    def __init__(self, cycle: "RequestCycle") -> None:
        self.cycle = cycle

    async def __call__(self) -> Any:
        return await RequestResponseCycle.receive(self.cycle)

    def when_left(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the client's connection ends, at once if it has; None: nobody any more."""
        self.cycle.on_left = callback
        if callback is not None and self.cycle.disconnected:
            callback()


class RequestCycle(RequestResponseCycle):
    """Sends the head together with the first bytes of the body, and checks all headers at once."""

    on_left: Callable[[], None] | None = None
    _head: bytes = b""
    _in_chunks: bool = False

    @property
    def receive(self) -> Receiver:
        """What the application receives with."""
        return Receiver(self)

    def left(self) -> None:
        """The client's connection has ended."""
        if self.on_left is not None:
            self.on_left()

    @property
    def flows(self) -> bool:
        """Whether more of the body can be sent at once: it has begun, and the client takes what comes."""
        return self._in_chunks and not self.flow.write_paused and not self.disconnected

    def write_chunk(self, body: bytes) -> bool:
        """Send more of the body at once, without a task; gives whether that could be done."""
        if not self._in_chunks or self.flow.write_paused or self.disconnected:
            return False
        self.transport.write(b"%x\r\n%b\r\n" % (len(body), body))
        return True

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """What the application sends; waits while the client takes nothing."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        elif not self.response_complete:
            self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError("the answer was complete, and something was sent after it")

    def _start(self, message: Message) -> None:
        self.response_started, self.waiting_for_100_continue = True, False
        status, headers = message["status"], [*self.default_headers, *message.get("headers", ())]
        for name, value in headers:
            if name == b"content-length":
                self.chunked_encoding, self.expected_content_length = False, int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        if not self.keep_alive and (b"connection", b"close") not in headers:
            headers.append((b"connection", b"close"))
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in (204, 304):
            self.chunked_encoding = True
            headers.append((b"transfer-encoding", b"chunked"))
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        if lines.count(b"\r") != len(headers) or lines.count(b"\n") != len(headers):
            raise RuntimeError("a header of the answer has a line break in it")
        self._head = STATUS_LINE[status] + lines + b"\r\n"

    def _write(self, body: bytes, more: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length, framed = 0, b""
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            framed += b"" if more else b"0\r\n\r\n"
            self._in_chunks = more
        else:
            self.expected_content_length -= len(body)
            framed = body
        if self.expected_content_length < 0 or (self.expected_content_length and not more):
            raise RuntimeError("the answer's body has not the length that its head says")
        self.transport.write(head + framed)
        if not more:
            self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
