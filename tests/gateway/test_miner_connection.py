"""Connections to miners: used again while they are good, strict about what comes, bounded in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from gateway.connection_pool import ConnectionPool, open_pool
from gateway.errors import MinerFailure, MinerRefusal
from gateway.miner_connection import MAX_HEAD_BYTES, MAX_WAITING_BYTES
from gateway.miners import Endpoint, KnownMiner, MinerListing
from gateway.upstream import MAX_STREAM_BYTES, MinerClient, Timeouts
from tests.gateway.running_gateway import HANG_S, keypair

OK = b"HTTP/1.1 200 OK\r\ncontent-type: Application/JSON; charset=utf-8\r\ncontent-length: 2\r\n\r\n{}"
BODY = b'{"messages":[]}'
PATH = "/v1/chat/completions"

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawMiner:
    """A server that answers each request with the next of its answers, byte for byte, or with a function.

    Attributes:
        requests: the heads and bodies that came, by connection.
    """

    answers: list[bytes | Answer]
    requests: list[list[bytes]] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own: list[bytes] = []
        self.requests.append(own)
        try:
            while True:
                own.append(await reader.readuntil(b"\r\n\r\n") + await reader.readexactly(len(BODY)))
                answer = self.answers.pop(0)
                if isinstance(answer, bytes):
                    writer.write(answer)
                else:
                    await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_miner(*answers: bytes | Answer) -> AsyncIterator[tuple[RawMiner, MinerClient]]:
    miner = RawMiner(list(answers))
    server = await asyncio.start_server(miner.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    miner.url = f"http://{host}:{port}"
    async with asyncio.timeout(HANG_S), open_pool(1.0) as pool:
        yield miner, client_of(pool)
    server.close()


def client_of(pool: ConnectionPool, **bounds: float) -> MinerClient:
    seconds: dict[str, float] = {
        "connect_s": 1.0,
        "first_event_s": HANG_S,
        "idle_s": HANG_S,
        "answer_s": HANG_S,
    }
    return MinerClient(pool, keypair("gateway"), Timeouts(**(seconds | bounds)))


def known(url: str) -> KnownMiner:
    return KnownMiner(MinerListing(0, keypair("miner0").ss58_address, None), Endpoint(url))


async def ask(miner: RawMiner, client: MinerClient) -> bytes:
    async with client.post(known(miner.url), PATH, BODY, stream=False) as answer:
        return await answer.read_whole()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def abort(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def test_a_request_is_one_signed_post() -> None:
    async with raw_miner(OK) as (miner, client):
        assert await ask(miner, client) == b"{}"
    ((request,),) = miner.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    names = {line.partition(":")[0].lower() for line in lines[1:]}
    assert lines[0] == f"POST {PATH} HTTP/1.1"
    assert body == BODY
    assert {"host", "content-length", "x-bittensor-signature", "x-bittensor-nonce"} <= names


async def test_the_content_type_is_given_without_parameters() -> None:
    async with raw_miner(OK) as (miner, client), client.post(known(miner.url), PATH, BODY, False) as answer:
        assert answer.content_type == "application/json"


@pytest.mark.parametrize("answer", [hang_up, abort])
async def test_a_connection_that_was_closed_unused_costs_nobody_an_answer(answer: Answer) -> None:
    async with raw_miner(OK, answer, OK) as (miner, client):
        assert [await ask(miner, client) for _ in range(2)] == [b"{}", b"{}"]
    assert [len(requests) for requests in miner.requests] == [2, 1]
    nonces = [line for one in miner.requests for request in one for line in nonce_lines(request)]
    assert len(set(nonces)) == 3, "each try is signed anew"


def nonce_lines(request: bytes) -> list[bytes]:
    return [line for line in request.split(b"\r\n") if line.lower().startswith(b"x-bittensor-nonce")]


@pytest.mark.parametrize("answer", [hang_up, abort])
async def test_a_new_connection_that_breaks_is_not_tried_again(answer: Answer) -> None:
    async with raw_miner(answer, OK) as (miner, client):
        with pytest.raises(MinerFailure, match="connection broke before it answered"):
            await ask(miner, client)
    assert [len(requests) for requests in miner.requests] == [1]


async def test_a_used_connection_that_breaks_within_an_answer_is_not_tried_again() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 2")
        await writer.drain()
        writer.close()

    async with raw_miner(OK, half, OK) as (miner, client):
        await ask(miner, client)
        with pytest.raises(MinerFailure, match="connection broke before it answered"):
            await ask(miner, client)
    assert [len(requests) for requests in miner.requests] == [2]


@pytest.mark.parametrize(
    ("answer", "reused"),
    [
        (OK, True),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, True),
        (OK.replace(b"content-length", b"connection: close\r\ncontent-length"), False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", False),
        (OK + OK, False),
        (OK + b"x", False),
    ],
)
async def test_only_a_clean_connection_is_used_again(answer: bytes, reused: bool) -> None:
    async with raw_miner(answer, OK) as (miner, client):
        assert [await ask(miner, client) for _ in range(2)] == [b"{}", b"{}"]
    assert len(miner.requests) == (1 if reused else 2)


async def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n{}")
        writer.close()

    async with raw_miner(until_closed) as (miner, client):
        assert await ask(miner, client) == b"{}"


@pytest.mark.parametrize(
    "answer",
    [
        b"hello\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * (MAX_HEAD_BYTES + 1),
        b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD_BYTES,
    ],
    ids=lambda answer: answer[:60].decode().splitlines()[0],
)
async def test_what_is_not_a_bounded_http_answer_is_a_failure(answer: bytes) -> None:
    async with raw_miner(answer) as (miner, client):
        with pytest.raises(MinerFailure, match="connection broke"):
            await ask(miner, client)


@pytest.mark.parametrize("status", [204, 301, 307, 429, 500])
async def test_any_other_status_than_200_is_a_failure(status: int) -> None:
    answer = b"HTTP/1.1 %d X\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n" % status
    async with raw_miner(answer) as (miner, client):
        with pytest.raises(MinerFailure, match=f"HTTP {status}"):
            await ask(miner, client)


async def test_a_refusal_leaves_the_connection_good() -> None:
    refusal = b'HTTP/1.1 400 Bad Request\r\ncontent-length: 27\r\n\r\n{"error":{"message":"long"}}'
    async with raw_miner(refusal.replace(b"27", b"28"), OK) as (miner, client):
        with pytest.raises(MinerRefusal, match="long"):
            await ask(miner, client)
        assert await ask(miner, client) == b"{}"
    assert len(miner.requests) == 1


async def test_an_answer_that_floods_is_cut_off() -> None:
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(piece)
            await writer.drain()

    async with raw_miner(flood) as (miner, client):
        with pytest.raises(MinerFailure, match=f"more than {MAX_STREAM_BYTES} bytes"):
            await ask(miner, client)


async def test_what_nobody_reads_stays_with_the_miner() -> None:
    sent, stuck = 0, asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                sent += 65536
                async with asyncio.timeout(0.2):
                    await writer.drain()
        except TimeoutError:
            stuck.set()

    async with raw_miner(flood) as (miner, client), client.post(known(miner.url), PATH, BODY, True) as answer:
        await stuck.wait()
        first = await answer.read(asyncio.get_running_loop().time() + HANG_S)
        assert 0 < len(first) <= MAX_WAITING_BYTES + (1 << 18)


async def test_a_miner_that_accepts_nothing_is_told_from_one_that_is_silent() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with open_pool(1.0) as pool:
        with pytest.raises(MinerFailure, match="refuses connections"):
            async with client_of(pool).post(known("http://127.0.0.1:1"), PATH, BODY, False):
                pass
    async with raw_miner(silent) as (miner, client):
        client.timeouts = Timeouts(1.0, 0.05, 1.0, 0.05)
        with pytest.raises(MinerFailure, match="went silent before it answered"):
            await ask(miner, client)


async def test_leaving_early_hangs_up() -> None:
    left = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{")
        try:
            await reader.read()
        finally:
            left.set()

    async with raw_miner(wait) as (miner, client):
        async with client.post(known(miner.url), PATH, BODY, True) as answer:
            assert await answer.read(asyncio.get_running_loop().time() + HANG_S) == b"{"
        await left.wait()


async def test_connections_end_with_the_pool() -> None:
    closed = asyncio.Event()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await reader.read()
        closed.set()

    miner = RawMiner([stay])
    server = await asyncio.start_server(miner.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    miner.url = f"http://{host}:{port}"
    async with asyncio.timeout(HANG_S):
        async with open_pool(1.0) as pool:
            assert await ask(miner, client_of(pool)) == b"{}"
            assert not closed.is_set(), "it is kept"
        await closed.wait()
    server.close()


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def streams(*pieces: bytes, gate: asyncio.Event) -> Answer:
    """Sends the first piece at once, and the others when the gate has been opened."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM_HEAD + chunk(pieces[0]))
        await gate.wait()
        for piece in pieces[1:]:
            writer.write(piece)
            await writer.drain()

    return answer


def later(seconds: float = HANG_S) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_what_is_poured_comes_without_waking_the_reader_and_the_rest_is_read() -> None:
    gate, taken = asyncio.Event(), list[bytes]()

    def take(data: bytes) -> float:
        taken.append(data)
        return 0.0 if data.endswith(b"last") else later()

    async with (
        raw_miner(streams(b"a", chunk(b"b"), chunk(b"last"), gate=gate)) as (miner, client),
        client.post(known(miner.url), PATH, BODY, stream=True) as answer,
    ):
        assert await answer.read(later()) == b"a"
        pouring = asyncio.create_task(answer.pour(take, later()))
        gate.set()
        await pouring
        assert b"".join(taken) == b"blast"
        miner_connection = answer._connection
        assert miner_connection.reusable is False


async def test_what_the_taker_raises_reaches_whoever_pours() -> None:
    gate = asyncio.Event()

    def refuse(data: bytes) -> float:
        raise MinerFailure("nonsense")

    async with (
        raw_miner(streams(b"a", chunk(b"b"), gate=gate)) as (miner, client),
        client.post(known(miner.url), PATH, BODY, stream=True) as answer,
    ):
        await answer.read(later())
        gate.set()
        with pytest.raises(MinerFailure, match="nonsense"):
            await answer.pour(refuse, later())


async def test_pouring_ends_when_nothing_comes_in_time_and_with_the_answer() -> None:
    gate = asyncio.Event()
    async with (
        raw_miner(streams(b"a", b"0\r\n\r\n", gate=gate)) as (miner, client),
        client.post(known(miner.url), PATH, BODY, stream=True) as answer,
    ):
        await answer.read(later())
        with pytest.raises(MinerFailure, match="silent in the middle"):
            await answer.pour(lambda data: later(), later(0.02))
        gate.set()
        await answer.pour(lambda data: later(), later())
        assert await answer.read(later()) == b""


async def test_pouring_goes_on_as_long_as_the_taker_says_and_no_longer_than_the_answer_may() -> None:
    gate = asyncio.Event()
    async with raw_miner(streams(b"a", chunk(b"b"), gate=gate)) as (miner, _), open_pool(1.0) as pool:
        client = client_of(pool, answer_s=0.2)
        async with client.post(known(miner.url), PATH, BODY, stream=True) as answer:
            await answer.read(later())
            gate.set()
            with pytest.raises(MinerFailure, match="silent in the middle"):
                await answer.pour(lambda data: later(), later())


async def test_no_more_than_an_answer_may_have_is_poured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.upstream.MAX_STREAM_BYTES", 1000)
    gate, taken = asyncio.Event(), list[bytes]()

    def take(data: bytes) -> float:
        taken.append(data)
        return later()

    endless = streams(b"a", *[chunk(b"x" * 400)] * 5, gate=gate)
    async with (
        raw_miner(endless) as (miner, client),
        client.post(known(miner.url), PATH, BODY, stream=True) as answer,
    ):
        await answer.read(later())
        gate.set()
        await answer.pour(take, later())
        assert len(b"".join(taken)) < 1000
        with pytest.raises(MinerFailure, match="more than 1000 bytes"):
            await answer.read(later())
