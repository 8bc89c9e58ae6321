"""Puts a signed receipt into every completed answer: a field of a JSON answer, the last event of a stream."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from miners.completion_request import CompletionRequest, parse_completion_request
from miners.errors import RequestRefused
from miners.event_stream import Event, EventSplitter, data_event
from miners.http_messages import send_refusal, with_body
from miners.receipt_issuer import ReceiptIssuer, ResponseTimes
from miners.response_tokens import ResponseTokens
from shared.canonical import canonical_json
from shared.logs import REQUEST_ID
from shared.receipts import Receipt

WallClock = Callable[[], int]
"""Unix milliseconds."""

Finish = Callable[[ResponseTokens, int | None], Awaitable[Receipt | None]]
"""Issues the receipt: (tokens, when the first token was sent)."""

_OWN_HEADERS = frozenset({b"x-request-id", b"content-length"})
"""Not for vLLM: the first would replace the body's `request_id`, the second is of another body."""


class ReceiptMiddleware:
    """ASGI middleware around vLLM's completion routes; the body must be readable in one message."""

    def __init__(
        self, app: ASGIApp, issuer: ReceiptIssuer, clock: WallClock, fresh_id: Callable[[], str]
    ) -> None:
        self._app, self._issuer, self._clock, self._fresh_id = app, issuer, clock, fresh_id
        self._in_flight: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        received_at_ms = self._clock()
        received: bytes = (await receive())["body"]
        try:
            request = parse_completion_request(received, self._fresh_id)
            REQUEST_ID.set(request.request_id)
            with self._alone(request.request_id):
                await self._serve(request, received_at_ms, scope, receive, send)
        except RequestRefused as refusal:
            await send_refusal(send, refusal)

    @contextmanager
    def _alone(self, request_id: str) -> Iterator[None]:
        if request_id in self._in_flight or self._issuer.is_answered(request_id):
            message = f"request_id {request_id} is taken; every attempt needs a request_id of its own"
            raise RequestRefused(409, message, "duplicate_request_id")
        self._in_flight.add(request_id)
        try:
            yield
        finally:
            self._in_flight.discard(request_id)

    async def _serve(
        self, request: CompletionRequest, received_at_ms: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        issued = False

        async def finish(tokens: ResponseTokens, first_token_at_ms: int | None) -> Receipt | None:
            nonlocal issued
            times = ResponseTimes(received_at_ms, first_token_at_ms, self._clock())
            receipt = await self._issuer.issue(request, tokens, times)
            issued = receipt is not None
            return receipt

        answer = ReceiptedAnswer(send, finish, self._clock)
        try:
            await self._app(_scope_for(scope, request.body), with_body(request.body, receive), answer.send)
        finally:
            if not issued:
                await self._issuer.discard(request.request_id)


def _scope_for(scope: Scope, body: bytes) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _OWN_HEADERS]
    return {**scope, "headers": [*headers, (b"content-length", str(len(body)).encode())]}


class ReceiptedAnswer:
    """Stands between vLLM and the connection while one answer passes."""

    def __init__(self, send: Send, finish: Finish, clock: WallClock) -> None:
        self._send, self._finish, self._clock = send, finish, clock
        self._tokens = ResponseTokens()
        self._first_token_at_ms: int | None = None
        self._splitter = EventSplitter()
        self._whole = b""
        self._start: Message | None = None
        self._pass: Send = send

    async def send(self, message: Message) -> None:
        """An ASGI `send` for vLLM."""
        if message["type"] == "http.response.start":
            await self._begin(message)
        else:
            await self._pass(message)

    async def _begin(self, message: Message) -> None:
        headers = {name.lower(): value for name, value in message["headers"]}
        kind = headers.get(b"content-type", b"").partition(b";")[0] if message["status"] == 200 else b""
        if kind == b"application/json":
            self._start, self._pass = message, self._pass_whole
            return
        if kind == b"text/event-stream":
            self._pass = self._pass_stream
        await self._send(message)

    async def _pass_whole(self, message: Message) -> None:
        self._whole += message.get("body", b"")
        if message.get("more_body", False):
            return
        self._tokens.add(orjson.loads(self._whole))
        receipt = None if self._tokens.failed else await self._finish(self._tokens, None)
        body = self._whole if receipt is None else with_receipt(self._whole, receipt)
        assert self._start is not None
        await self._send(_with_length(self._start, len(body)))
        await self._send({"type": "http.response.body", "body": body})

    async def _pass_stream(self, message: Message) -> None:
        more = message.get("more_body", False)
        pieces = [await self._pass_event(event) for event in self._splitter.feed(message.get("body", b""))]
        rest = b"" if more else self._splitter.rest
        if pieces or not more:
            body = b"".join(pieces) + rest
            await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _pass_event(self, event: Event) -> bytes:
        if event.is_done:
            return await self._last_event() + event.raw
        if event.data:
            self._tokens.add(orjson.loads(event.data))
            if self._first_token_at_ms is None and self._tokens.any_output:
                self._first_token_at_ms = self._clock()
        return event.raw

    async def _last_event(self) -> bytes:
        receipt = None if self._tokens.failed else await self._finish(self._tokens, self._first_token_at_ms)
        if receipt is None:
            return b""
        plain = {**self._tokens.envelope, "choices": [], "receipt": receipt.model_dump(mode="json")}
        return data_event(orjson.dumps(plain))


def with_receipt(answer: bytes, receipt: Receipt) -> bytes:
    """A JSON object's bytes with the field `receipt` added; everything else stays as it was written."""
    return answer.rstrip()[:-1] + b',"receipt":' + canonical_json(receipt) + b"}"


def _with_length(start: Message, length: int) -> Message:
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return {**start, "headers": [*headers, (b"content-length", str(length).encode())]}
