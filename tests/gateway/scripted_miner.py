"""A miner that says what a test tells it to, over real HTTP; by default an honest one."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from shared.canonical import sha256_hex, token_ids_digest
from shared.errors import SignatureMismatch
from shared.peer_auth import RequestVerifier
from shared.receipts import ChoiceReceipt, Receipt, ReceiptBody, sign_receipt
from shared.signing import Signer

MODEL = "test/model"
PROMPT_IDS = [5, 6, 7]
WORDS = ["Miners", " answer", " honestly", "."]
WORD_IDS = [101, 102, 103, 104]

Behaviour = Callable[[web.Request, "Script"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Script:
    """What an honest miner would answer to one request."""

    body: Mapping[str, Any]
    chat: bool
    events: list[bytes]
    """Token events, then the receipt's event, then [DONE]."""
    answer: dict[str, Any]

    async def stream(self, request: web.Request, *pieces: bytes) -> web.StreamResponse:
        """Answer with an event stream of these bytes."""
        response = await open_stream(request)
        for piece in pieces:
            await response.write(piece)
        return response


async def open_stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    return response


def event(payload: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


async def honest(request: web.Request, script: Script) -> web.StreamResponse:
    if script.body.get("stream"):
        return await script.stream(request, *script.events)
    return web.json_response(script.answer)


@dataclass
class ScriptedMiner:
    """One miner on a loopback port.

    Attributes:
        bodies: the bodies of the requests that passed its authentication.
        cancelled: set when a request was cancelled because the gateway hung up.
    """

    signer: Signer
    gateway_hotkey: str
    behaviour: Behaviour = honest
    health: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list)
    raw_bodies: list[bytes] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.hotkey = self.signer.ss58_address
        self.health = {"status": "ok", "model": MODEL, "hotkey": self.hotkey} | self.health
        self._verifier = RequestVerifier(self.hotkey)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["ScriptedMiner"]:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_post("/v1/chat/completions", self._infer)
        app.router.add_post("/v1/completions", self._infer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        self.address = f"{host}:{port}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _health(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.health)

    async def _infer(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        try:
            sender = self._verifier.sender(request.headers, "POST", request.path, raw)
        except SignatureMismatch as error:
            return web.json_response({"error": {"message": str(error), "type": "auth"}}, status=401)
        if sender != self.gateway_hotkey:
            return web.json_response({"error": {"message": "no permit", "type": "auth"}}, status=403)
        self.raw_bodies.append(raw)
        self.bodies.append(json.loads(raw))
        try:
            return await self.behaviour(request, self._script(raw, request.path))
        except (asyncio.CancelledError, ConnectionError):
            self.cancelled.set()
            raise

    def _script(self, raw: bytes, path: str) -> Script:
        body = json.loads(raw)
        chat = path.endswith("chat/completions")
        count = int(body.get("n") or 1)
        receipt = self.receipt(raw, count).model_dump(mode="json")
        events = [*_token_events(body, chat, count), _receipt_event(body, chat, receipt), b"data: [DONE]\n\n"]
        return Script(body, chat, events, _answer(body, chat, count) | {"receipt": receipt})

    def receipt(self, raw: bytes, count: int) -> Receipt:
        """An honestly signed receipt over the scripted tokens."""
        body = json.loads(raw)
        choices = tuple(
            ChoiceReceipt(
                index=index,
                prompt_digest=token_ids_digest(PROMPT_IDS),
                prompt_tokens=len(PROMPT_IDS),
                output_digest=token_ids_digest(WORD_IDS),
                output_tokens=len(WORD_IDS),
                cached_tokens=0,
            )
            for index in range(count)
        )
        statement = ReceiptBody(
            request_id=body["request_id"],
            hotkey=self.hotkey,
            model=MODEL,
            request_digest=sha256_hex(raw),
            sampler="test",
            seed=body["seed"],
            calibration_digest="0" * 64,
            num_layers=2,
            choices=choices,
            merkle_root="1" * 64,
            leaves=8,
            received_at_ms=1,
            first_token_at_ms=2,
            finished_at_ms=3,
        )
        return sign_receipt(statement, self.signer)


def _frame(body: Mapping[str, Any], chat: bool, stream: bool) -> dict[str, Any]:
    kind = ("chat.completion" + (".chunk" if stream else "")) if chat else "text_completion"
    prefix = "chatcmpl" if chat else "cmpl"
    return {"id": f"{prefix}-{body['request_id']}", "object": kind, "created": 1, "model": MODEL}


def _token_events(body: Mapping[str, Any], chat: bool, count: int) -> list[bytes]:
    frame = _frame(body, chat, stream=True)
    if not chat:
        return [event(frame | {"choices": [_text_choice(i, n)]}) for n in range(4) for i in range(count)]
    roles = [
        {"index": i, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}
        for i in range(count)
    ]
    first = event(frame | {"choices": roles, "prompt_token_ids": PROMPT_IDS})
    rest = [event(frame | {"choices": [_delta(i, n)]}) for n in range(4) for i in range(count)]
    return [first, *rest]


def _delta(index: int, number: int) -> dict[str, Any]:
    return {
        "index": index,
        "delta": {"content": WORDS[number]},
        "finish_reason": "stop" if number == 3 else None,
        "token_ids": [WORD_IDS[number]],
    }


def _text_choice(index: int, number: int) -> dict[str, Any]:
    return {
        "index": index,
        "text": WORDS[number],
        "finish_reason": "stop" if number == 3 else None,
        "prompt_token_ids": PROMPT_IDS if number == 0 else None,
        "token_ids": [WORD_IDS[number]],
    }


def _receipt_event(body: Mapping[str, Any], chat: bool, receipt: dict[str, Any]) -> bytes:
    return event(_frame(body, chat, stream=True) | {"choices": [], "receipt": receipt})


def _answer(body: Mapping[str, Any], chat: bool, count: int) -> dict[str, Any]:
    text, common = "".join(WORDS), {"finish_reason": "stop", "token_ids": WORD_IDS}
    usage = {"prompt_tokens": 3, "completion_tokens": 4 * count, "total_tokens": 3 + 4 * count}
    frame = _frame(body, chat, stream=False) | {"usage": usage}
    if chat:
        message = {"role": "assistant", "content": text}
        choices = [{"index": i, "message": message, **common} for i in range(count)]
        return frame | {"choices": choices, "prompt_token_ids": PROMPT_IDS}
    choices = [{"index": i, "text": text, "prompt_token_ids": PROMPT_IDS, **common} for i in range(count)]
    return frame | {"choices": choices}
