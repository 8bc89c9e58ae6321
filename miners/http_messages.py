"""The few parts of HTTP over ASGI that the middleware needs: JSON answers and bounded bodies."""

import asyncio

import orjson
from starlette.types import Message, Receive, Scope, Send

from miners.errors import RequestRefused

MAX_BODY_BYTES = 8 << 20
"""Largest request body; a context of 128k tokens is about 1 MiB of JSON."""

MAX_UNVERIFIED_BYTES = 256 << 20
"""Bodies being read at one time, all together: nobody has proved yet who sent them."""

BODY_DEADLINE_S = 15.0
"""Time for a body to arrive; a gateway sends in one piece what it has in memory."""


def request_headers(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; of repeated ones the last counts."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def request_target(scope: Scope) -> str:
    """The request target exactly as it was sent, query included."""
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


async def send_json(send: Send, status: int, value: object, close: bool = False) -> None:
    """Answer with JSON; `close` ends the connection afterwards."""
    body = orjson.dumps(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_refusal(send: Send, refusal: RequestRefused) -> None:
    """Answer with an error in OpenAI's form."""
    await send_json(send, refusal.status, refusal.body, close=refusal.unread)


class BodyReader:
    """Reads whole bodies within bounds of size, time and total memory."""

    def __init__(
        self,
        max_body_bytes: int = MAX_BODY_BYTES,
        max_total_bytes: int = MAX_UNVERIFIED_BYTES,
        deadline_s: float = BODY_DEADLINE_S,
    ) -> None:
        self._max_body_bytes, self._max_total_bytes = max_body_bytes, max_total_bytes
        self._deadline_s = deadline_s
        self._held_bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """The request's body.

        Raises:
            RequestRefused: it is too large (413), too slow (408), broke off (400), or too much is being
                read already (503).
        """
        declared = request_headers(scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_body_bytes:
            raise self._too_large()
        pieces: list[bytes] = []
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._read_pieces(receive, pieces)
        except TimeoutError:
            message = f"the request's body did not arrive within {self._deadline_s:g} s"
            raise RequestRefused(408, message, "body_timeout", unread=True) from None
        finally:
            self._held_bytes -= sum(map(len, pieces))
        return b"".join(pieces)

    async def _read_pieces(self, receive: Receive, pieces: list[bytes]) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise RequestRefused(400, "the request's body broke off", "incomplete_body", unread=True)
            piece, more = message.get("body", b""), message.get("more_body", False)
            pieces.append(piece)
            size += len(piece)
            self._held_bytes += len(piece)
            if size > self._max_body_bytes:
                raise self._too_large()
            if self._held_bytes > self._max_total_bytes:
                raise RequestRefused(
                    503, "too many bodies are being read; try again", "overloaded", unread=True
                )

    def _too_large(self) -> RequestRefused:
        message = f"the request's body is larger than {self._max_body_bytes} bytes"
        return RequestRefused(413, message, "body_too_large", unread=True)


def with_body(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives `body` first, and then what the connection says (that the client left)."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return pending.pop() if pending else await receive()

    return replay
