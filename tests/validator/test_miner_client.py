import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    CHALLENGE_PATH,
    OpenAnswer,
    OpenPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayPoint,
    ReplayRequest,
    sign_answer,
)
from shared.peer_auth import RequestVerifier
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR
from tests.validator.scripted_http import ScriptedServer, SeenRequest, response, scripted_server
from validator.miner_client import (
    MAX_ANSWER_BYTES,
    RETRY_DELAYS_S,
    Malformed,
    MinerClient,
    OpenOutcome,
    Refused,
    Unreachable,
    challenge_url,
    http_client,
)

OPEN = OpenRequest(request_id="request-one", points=(OpenPoint(position=3, layer=2),))
REPLAY = ReplayRequest(token_ids=(1, 2, 3), points=(ReplayPoint(position=2, layer=1),))


def open_answer(**fields: Any) -> OpenAnswer:
    plain = OpenAnswer(
        hotkey=MINER.ss58_address, challenge_digest=sha256_hex(canonical_json(OPEN)), openings=()
    )
    return sign_answer(plain.model_copy(update=fields), MINER)


def encoded(answer: OpenAnswer | ReplayAnswer) -> bytes:
    return canonical_json(answer)


@asynccontextmanager
async def client(pauses: list[float] | None = None, **options: Any) -> AsyncIterator[MinerClient]:
    async def pause(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)

    async with http_client() as http:
        yield MinerClient(VALIDATOR, http, allow_local=True, sleep=pause, **options)


async def asked(*responses: bytes, **options: Any) -> tuple[OpenOutcome, ScriptedServer, list[float]]:
    """The outcome of asking a server that gives these responses, the last one again and again."""
    left, pauses = list(responses), list[float]()

    async def script(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    async with scripted_server(script) as server, client(pauses, **options) as miners:
        outcome = await miners.open(OPEN, server.axon, MINER.ss58_address)
    return outcome, server, pauses


async def test_a_signed_answer_is_returned() -> None:
    answer = open_answer()
    outcome, server, pauses = await asked(response(200, encoded(answer)))
    assert outcome == answer
    assert len(server.seen) == 1
    assert pauses == []


async def test_a_replay_is_asked_and_answered_alike() -> None:
    digest = sha256_hex(canonical_json(REPLAY))
    answer = sign_answer(ReplayAnswer(hotkey=MINER.ss58_address, challenge_digest=digest, vectors=()), MINER)

    async def script(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, encoded(answer)))

    async with scripted_server(script) as server, client() as miners:
        assert await miners.replay(REPLAY, server.axon, MINER.ss58_address) == answer
        refused = await miners.open(OPEN, server.axon, MINER.ss58_address)
    assert isinstance(refused, Malformed), "an answer of the other form is no answer"


async def test_requests_are_canonical_and_signed_for_this_miner() -> None:
    _, server, _ = await asked(response(200, encoded(open_answer())))
    [seen] = server.seen
    assert seen.target == CHALLENGE_PATH
    assert seen.body == canonical_json(OPEN)
    verifier = RequestVerifier(MINER.ss58_address)
    assert verifier.sender(seen.headers, "POST", CHALLENGE_PATH, seen.body) == VALIDATOR.ss58_address


async def test_each_attempt_has_a_nonce_of_its_own() -> None:
    busy, good = response(503, b""), response(200, encoded(open_answer()))
    outcome, server, pauses = await asked(busy, busy, good)
    assert isinstance(outcome, OpenAnswer)
    assert pauses == list(RETRY_DELAYS_S[:2])
    verifier = RequestVerifier(MINER.ss58_address)
    for seen in server.seen:
        verifier.sender(seen.headers, "POST", CHALLENGE_PATH, seen.body)
    assert len(server.seen) == 3


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_try_again_later_is_believed_only_so_often(status: int) -> None:
    outcome, server, pauses = await asked(response(status, b'{"error":{"message":"busy"}}'))
    assert isinstance(outcome, Unreachable)
    assert outcome.reason == f"HTTP {status}: busy"
    assert pauses == list(RETRY_DELAYS_S)
    assert len(server.seen) == 1 + len(RETRY_DELAYS_S)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 301, 307, 204])
async def test_a_refusal_is_not_asked_again(status: int) -> None:
    body = json.dumps({"error": {"message": "not held\n\x07", "code": "unknown_request"}}).encode()
    outcome, server, _ = await asked(
        response(status, b"" if status == 204 else body, "location: http://127.0.0.1:1/")
    )
    assert isinstance(outcome, Refused)
    assert outcome.status == status
    assert outcome.message == ("no message" if status == 204 else "not held")
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"\xff\xfe", b'{"error":"x"}', b"[" * 100_000, b"<html>" + b"a" * 10_000]
)
async def test_any_error_body_is_quoted_short_and_printable(body: bytes) -> None:
    outcome, _, _ = await asked(response(404, body))
    assert isinstance(outcome, Refused)
    assert len(outcome.message) <= 200
    assert outcome.message.isprintable()


async def test_a_connection_that_breaks_off_is_tried_again() -> None:
    whole = response(200, encoded(open_answer()))
    outcome, server, _ = await asked(b"", whole[:60], whole[:-10], whole)
    assert isinstance(outcome, OpenAnswer)
    assert len(server.seen) == 4


async def test_a_closed_port_is_unreachable_after_every_attempt() -> None:
    async with scripted_server(lambda *_: asyncio.sleep(0)) as server:
        axon = server.axon
    pauses: list[float] = []
    async with client(pauses) as miners:
        outcome = await miners.open(OPEN, axon, MINER.ss58_address)
    assert isinstance(outcome, Unreachable)
    assert pauses == list(RETRY_DELAYS_S)


async def test_a_slow_drip_ends_at_the_deadline() -> None:
    async def drip(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with scripted_server(drip) as server, client(attempt_deadline_s=0.05) as miners:
        outcome = await miners.open(OPEN, server.axon, MINER.ss58_address)
    assert isinstance(outcome, Unreachable)
    assert "no whole answer" in outcome.reason


async def test_an_endless_answer_is_cut_off() -> None:
    sent = 0

    async def flood(_: SeenRequest, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        while not writer.is_closing():
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)

    async with scripted_server(flood) as server, client() as miners:
        outcome = await miners.open(OPEN, server.axon, MINER.ss58_address)
    assert isinstance(outcome, Malformed)
    assert "longer than" in outcome.reason
    assert sent < MAX_ANSWER_BYTES * 8


async def test_a_compressed_answer_is_never_unpacked() -> None:
    bomb = gzip.compress(bytes(1 << 26))
    outcome, server, _ = await asked(response(200, bomb, "content-encoding: gzip"))
    assert isinstance(outcome, Malformed)
    assert server.seen[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda: b"", "not an answer"),
        (lambda: b"null", "not an answer"),
        (lambda: b"[" * 10_000, "not an answer"),
        (lambda: encoded(open_answer())[:-1], "not an answer"),
        (lambda: encoded(open_answer()).replace(b'"form":"open"', b'"form":"open","more":1'), "more"),
        (lambda: canonical_json(open_answer().model_copy(update={"signature": None})), "not signed"),
        (lambda: encoded(open_answer(challenge_digest="0" * 64)), "another challenge"),
        (lambda: encoded(sign_answer(open_answer(), OTHER_MINER)), "not by"),
        (lambda: encoded(open_answer(hotkey=OTHER_MINER.ss58_address)), OTHER_MINER.ss58_address),
        (lambda: encoded(open_answer().model_copy(update={"signature": "0x" + "00" * 64})), "sign"),
    ],
)
async def test_an_answer_that_is_not_this_miners_to_this_challenge_is_malformed(
    answer: Callable[[], bytes], reason: str
) -> None:
    outcome, server, _ = await asked(response(200, answer()))
    assert isinstance(outcome, Malformed)
    assert reason in outcome.reason
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "axon",
    ["", "localhost:80", "example.com:80", "10.0.0.1:80", "169.254.169.254:80", "192.168.1.1:9", "8.8.8.8"],
)
async def test_an_address_that_may_not_be_called_is_not_called(axon: str) -> None:
    pauses: list[float] = []
    async with client(pauses) as miners:
        outcome = await miners.open(OPEN, axon, MINER.ss58_address)
    assert isinstance(outcome, Unreachable)
    assert pauses == []


def test_loopback_is_refused_unless_the_network_is_local() -> None:
    assert isinstance(challenge_url("127.0.0.1:80", allow_local=False), Unreachable)
    assert challenge_url("127.0.0.1:80", allow_local=True) == "http://127.0.0.1:80/hidden_state"
    assert (
        challenge_url("[2606:4700::1111]:80", allow_local=False) == "http://[2606:4700::1111]:80/hidden_state"
    )
