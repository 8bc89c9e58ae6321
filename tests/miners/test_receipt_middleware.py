import asyncio
import itertools
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from miners.commitment_store import CommitmentStore
from miners.receipt_issuer import MinerIdentity, ReceiptIssuer
from miners.receipt_middleware import ReceiptMiddleware
from shared.canonical import sha256_hex
from shared.logs import REQUEST_ID
from shared.receipts import Receipt, check_receipt, parse_receipt
from tests.miners.asgi import Answering, Connection, call, http_scope
from tests.miners.captures import NUM_LAYERS, RecordedCaptures, captured
from tests.shared.keys import MINER

ID = "request-0001"
BODY = orjson.dumps({"model": "tiny", "request_id": ID, "return_token_ids": True, "seed": 3})
SCOPE = http_scope("POST", "/v1/chat/completions", {"x-request-id": "mine", "content-length": "1"})
PROMPT, OUTPUT = [1, 2, 3, 4, 5], [7, 8, 9]
BASE = {"id": f"chatcmpl-{ID}", "object": "chat.completion.chunk", "created": 5, "model": "tiny"}

WHOLE = orjson.dumps(
    {**BASE, "prompt_token_ids": PROMPT, "choices": [{"index": 0, "token_ids": OUTPUT, "text": "é"}]}
)
EVENTS: list[dict[str, Any]] = [
    {**BASE, "prompt_token_ids": PROMPT, "choices": [{"index": 0, "delta": {"content": ""}}]},
    *({**BASE, "choices": [{"index": 0, "delta": {}, "token_ids": [token]}]} for token in OUTPUT),
    {**BASE, "choices": [], "usage": {"completion_tokens": 3}},
]
ERROR = {"error": {"message": "the engine failed"}}


def stream(*events: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events) + b"data: [DONE]\n\n"


class Setup:
    """The middleware around an application, over captures of one request."""

    def __init__(self, app: ASGIApp, output_tokens: int = len(OUTPUT)) -> None:
        self.captures = RecordedCaptures({ID: [captured(ID, 0, len(PROMPT), output_tokens)]})
        self.store = CommitmentStore(1 << 20, 100.0, lambda: 0.0)
        identity = MinerIdentity(MINER.ss58_address, "tiny", NUM_LAYERS, 8, sha256_hex(b"c"))
        issuer = ReceiptIssuer(identity, MINER, self.captures, self.store)
        self._now_ms = 1000
        self.middleware = ReceiptMiddleware(app, issuer, self._clock, lambda: ID)

    def _clock(self) -> int:
        self._now_ms += 10
        return self._now_ms

    async def call(self, body: bytes = BODY) -> Connection:
        return await call(self.middleware, SCOPE, body)


def receipt_in(value: dict[str, Any]) -> Receipt:
    receipt = parse_receipt(orjson.dumps(value["receipt"]))
    check_receipt(receipt)
    return receipt


async def test_a_json_answer_gets_a_receipt_and_stays_as_it_was_otherwise() -> None:
    setup = Setup(Answering("application/json", [WHOLE[:40], WHOLE[40:]]))
    connection = await setup.call()
    assert connection.body.startswith(WHOLE[:-1])
    assert connection.headers[b"content-length"] == str(len(connection.body)).encode()
    assert connection.headers[b"x-own"] == b"kept"
    receipt = receipt_in(orjson.loads(connection.body))
    assert receipt.first_token_at_ms is None
    assert receipt.received_at_ms < receipt.finished_at_ms
    assert receipt.request_digest == sha256_hex(BODY)
    assert ID in setup.store
    assert setup.captures.discarded == []


async def test_vllm_gets_the_amended_body_and_not_the_callers_request_id_header() -> None:
    app = Answering("application/json", [WHOLE])
    setup = Setup(app)
    connection = await setup.call(b'{"model": "tiny"}')
    headers, body = app.seen[0]
    assert orjson.loads(body) == {"model": "tiny", "request_id": ID, "return_token_ids": True}
    assert b"x-request-id" not in headers
    assert headers[b"content-length"] == str(len(body)).encode()
    assert receipt_in(orjson.loads(connection.body)).request_digest == sha256_hex(b'{"model": "tiny"}')


async def test_vllm_gets_the_trace_that_the_gateway_passes_on() -> None:
    app = Answering("application/json", [WHOLE])
    traced = http_scope("POST", "/v1/chat/completions", {"traceparent": "00-a-b-01", "tracestate": "x=1"})
    await call(Setup(app).middleware, traced, BODY)
    headers, _ = app.seen[0]
    assert (headers[b"traceparent"], headers[b"tracestate"]) == (b"00-a-b-01", b"x=1")


async def test_what_is_logged_about_a_request_names_it() -> None:
    async def tell(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(REQUEST_ID.get())
        await Answering("application/json", [WHOLE])(scope, receive, send)

    seen: list[str | None] = []
    await asyncio.create_task(Setup(tell).call())
    assert (seen, REQUEST_ID.get()) == ([ID], None)


@given(st.lists(st.integers(0, 2000), max_size=20))
def test_a_stream_gets_the_receipt_before_its_end_wherever_chunks_are_cut(cuts: list[int]) -> None:
    whole = stream(*EVENTS)
    edges = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    chunks = [whole[a:b] for a, b in itertools.pairwise(edges)]
    connection = asyncio.run(Setup(Answering("text/event-stream; charset=utf-8", chunks)).call())
    assert connection.body.startswith(whole.removesuffix(b"data: [DONE]\n\n"))
    *events, done = [text.removeprefix(b"data: ") for text in connection.body.split(b"\n\n")[:-1]]
    assert done == b"[DONE]"
    last = orjson.loads(events[-1])
    assert {name: last[name] for name in BASE} == BASE
    assert last["choices"] == []
    receipt = receipt_in(last)
    assert receipt.first_token_at_ms is not None
    assert receipt.received_at_ms < receipt.first_token_at_ms < receipt.finished_at_ms
    assert connection.sent[-1]["more_body"] is False


async def test_events_are_passed_on_at_once() -> None:
    whole = stream(*EVENTS)
    chunks = [text + b"\n\n" for text in whole.split(b"\n\n")[:-1]]
    connection = await Setup(Answering("text/event-stream", chunks)).call()
    assert [message["body"] for message in connection.sent[1 : len(EVENTS) + 1]] == chunks[:-1]


async def test_an_error_in_mid_stream_means_no_receipt() -> None:
    setup = Setup(Answering("text/event-stream", [stream(*EVENTS[:2], ERROR)]))
    connection = await setup.call()
    assert connection.body == stream(*EVENTS[:2], ERROR)
    assert setup.captures.discarded == [ID]
    assert len(setup.store) == 0


async def test_a_stream_that_breaks_off_gets_no_receipt_and_is_forgotten() -> None:
    broken = stream(*EVENTS)[:-20]
    setup = Setup(Answering("text/event-stream", [broken]))
    assert (await setup.call()).body == broken
    assert setup.captures.discarded == [ID]


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_an_error_answer_passes_unchanged(status: int) -> None:
    setup = Setup(Answering("application/json", [orjson.dumps(ERROR)], status))
    connection = await setup.call()
    assert (connection.status, connection.body) == (status, orjson.dumps(ERROR))
    assert setup.captures.discarded == [ID]


async def test_the_answer_to_a_client_that_left_gets_no_receipt() -> None:
    setup = Setup(Answering("application/json", [b"null"]))
    assert (await setup.call()).body == b"null"
    assert setup.captures.discarded == [ID]


async def test_a_capture_that_does_not_fit_leaves_the_answer_without_a_receipt() -> None:
    setup = Setup(Answering("application/json", [WHOLE]), output_tokens=90)
    setup.captures.held[ID] = [captured(ID, 0, len(PROMPT) + 40, 1)]
    connection = await setup.call()
    assert connection.body == WHOLE
    assert len(setup.store) == 0


async def test_a_crash_of_the_application_is_not_hidden_and_the_capture_is_forgotten() -> None:
    async def crash(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("crashed")

    setup = Setup(crash)
    with pytest.raises(RuntimeError, match="crashed"):
        await setup.call()
    assert setup.captures.discarded == [ID]


async def test_a_request_id_in_flight_or_answered_is_refused() -> None:
    release = asyncio.Event()
    inner = Answering("application/json", [WHOLE])

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await inner(scope, receive, send)

    setup = Setup(slow)
    first = asyncio.create_task(setup.call())
    await asyncio.sleep(0)
    second = await setup.call()
    assert second.status == 409
    assert orjson.loads(second.body)["error"]["code"] == "duplicate_request_id"
    assert setup.captures.discarded == []
    release.set()
    assert (await first).status == 200
    assert (await setup.call()).status == 409
    assert ID in setup.store


async def test_a_request_id_is_free_again_after_a_failure() -> None:
    setup = Setup(Answering("application/json", [orjson.dumps(ERROR)], 500))
    assert (await setup.call()).status == 500
    assert (await setup.call()).status == 500


async def test_nonsense_never_reaches_vllm() -> None:
    app = Answering("application/json", [WHOLE])
    connection = await Setup(app).call(b"[" * 3000)
    assert connection.status == 400
    assert app.seen == []
