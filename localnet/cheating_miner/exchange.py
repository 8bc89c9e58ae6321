"""An ASGI layer that changes what vLLM is asked and what it answers."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localnet.cheating_miner.cheat import Cheat
from miners.event_stream import EventSplitter, data_event
from miners.http_messages import with_body
from shared.inference_paths import COMPLETIONS_PATH

ANSWERED_WITHOUT_LIMIT = 16
"""Tokens of a completion that names no limit (vLLM's `CompletionRequest.max_tokens`)."""

Payload = dict[str, Any]
Change = Callable[[Payload], None]
"""Changes, in place, a whole answer or one event of a stream."""


def unchanged(payload: Payload) -> None:
    """Leave an answer as it is."""


@dataclass(frozen=True)
class Exchange:
    """The body's fields that vLLM is sent, and what becomes of its answer."""

    fields: Payload
    change: Change = unchanged


class Server:
    """vLLM's server, seen from inside one request to it."""

    def __init__(self, app: ASGIApp, scope: Scope) -> None:
        self._app, self._scope = app, scope

    async def answer(self, fields: Payload, receive: Receive, send: Send) -> None:
        """Have the request answered with this body."""
        body = orjson.dumps(fields)
        await self._app(_with_length(self._scope, len(body)), with_body(body, receive), send)

    async def tokens(self, fields: Payload) -> list[int] | None:
        """Prompt token ids of `POST /tokenize`; None when vLLM refuses."""
        body, kept = orjson.dumps(fields), _Kept()
        scope = _with_length({**self._scope, "path": "/tokenize", "raw_path": b"/tokenize"}, len(body))
        await self._app(scope, with_body(body, kept.nothing), kept.send)
        return orjson.loads(kept.body)["tokens"] if kept.status == 200 else None


class _Kept:
    def __init__(self) -> None:
        self.status, self.body = 0, b""

    async def nothing(self) -> Message:
        """Never: a caller that leaves would cancel the request."""
        message: Message = await asyncio.get_running_loop().create_future()
        return message

    async def send(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")


class BodyCheat(Cheat):
    """A cheat that changes requests or answers on their way through vLLM's server."""

    async def exchange(self, server: Server, path: str, fields: Payload) -> Exchange:
        """What becomes of one request."""
        raise NotImplementedError

    def inside(self, app: ASGIApp) -> ASGIApp:
        """vLLM's server behind this cheat."""

        async def changed(scope: Scope, receive: Receive, send: Send) -> None:
            fields: Payload = orjson.loads((await receive())["body"])
            server = Server(app, scope)
            exchange = await self.exchange(server, scope["path"], fields)
            await server.answer(exchange.fields, receive, ChangedAnswer(send, exchange.change).send)

        return changed


class ChangedAnswer:
    """Stands between vLLM and the receipt while one answer passes."""

    def __init__(self, send: Send, change: Change) -> None:
        self._send, self._change = send, change
        self._splitter, self._whole = EventSplitter(), b""
        self._start: Message | None = None
        self._pass: Send = send

    async def send(self, message: Message) -> None:
        """An ASGI `send` for vLLM."""
        if message["type"] != "http.response.start":
            await self._pass(message)
            return
        kind = dict(message["headers"]).get(b"content-type", b"").partition(b";")[0]
        if message["status"] == 200 and kind == b"application/json":
            self._start, self._pass = message, self._pass_whole
            return
        if message["status"] == 200 and kind == b"text/event-stream":
            self._pass = self._pass_stream
        await self._send(message)

    async def _pass_whole(self, message: Message) -> None:
        self._whole += message.get("body", b"")
        if message.get("more_body", False):
            return
        assert self._start is not None
        body = self._changed(self._whole)
        await self._send(_with_length(self._start, len(body)))
        await self._send({"type": "http.response.body", "body": body})

    async def _pass_stream(self, message: Message) -> None:
        events = self._splitter.feed(message.get("body", b""))
        pieces = [
            event.raw if event.is_done or not event.data else data_event(self._changed(event.data))
            for event in events
        ]
        await self._send({**message, "body": b"".join(pieces)})

    def _changed(self, data: bytes) -> bytes:
        payload: Payload = orjson.loads(data)
        self._change(payload)
        return orjson.dumps(payload)


def _with_length(message: Any, length: int) -> Any:
    headers = [(name, value) for name, value in message["headers"] if name.lower() != b"content-length"]
    return {**message, "headers": [*headers, (b"content-length", str(length).encode())]}


def asked_tokens(path: str, fields: Payload) -> int | None:
    """The longest output that a body allows; None when it names no limit."""
    for name in ("max_completion_tokens", "max_tokens"):
        if type(fields.get(name)) is int:
            return int(fields[name])
    return ANSWERED_WITHOUT_LIMIT if path == COMPLETIONS_PATH else None
