"""What a stranger's connection may cost: slow, large, many and malformed ones end, others are served."""

import asyncio
import json
import socket
from pathlib import Path

import pytest
from aiohttp import web

from gateway.http_server import SEND_BUFFER_BYTES, ConnectionLimits, listen
from shared.errors import ConfigError
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway, running_gateway
from tests.gateway.scripted_miner import Script, open_stream

QUICK = ConnectionLimits(request_s=0.5, stalled_s=0.2)
"""For connections that misbehave; honest requests need not be this quick on a busy machine."""


async def raw(gateway: RunningGateway, *pieces: bytes) -> bytes:
    """Send these bytes and read until the gateway closes the connection."""
    async with asyncio.timeout(HANG_S):
        reader, writer = await asyncio.open_connection(*gateway.address)
        for piece in pieces:
            writer.write(piece)
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()


def error_of(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def post(body: bytes, *headers: bytes) -> bytes:
    head = [b"POST /v1/chat/completions HTTP/1.1", b"host: x", *headers]
    return b"\r\n".join([*head, b"content-length: %d" % len(body), b"", body])


async def works(gateway: RunningGateway) -> bool:
    return bool((await gateway.openai.chat.completions.create(**CHAT)).choices)


async def test_a_connection_that_says_nothing_is_closed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, limits=QUICK) as gateway:
        assert await raw(gateway) == b""


async def test_a_head_that_never_ends_is_closed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, limits=QUICK) as gateway:
        answer = await raw(gateway, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n")
        assert error_of(answer) == (408, "request_timeout")


async def test_a_body_that_never_ends_is_closed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, limits=QUICK) as gateway:
        answer = await raw(gateway, post(b"{" * 10)[:-3])
        assert error_of(answer) == (408, "request_timeout")


async def test_blank_lines_keep_no_connection_open(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, limits=QUICK) as gateway:
        await raw(gateway, b"\r\n\r\n")


async def test_a_blank_line_after_an_answer_keeps_no_connection_open(tmp_path: Path) -> None:
    limits = ConnectionLimits(request_s=0.5, idle_s=3600)
    async with running_gateway(tmp_path, limits=limits) as gateway, asyncio.timeout(HANG_S):
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
        writer.write(b"\r\n")
        await reader.read()
        writer.close()


async def test_a_large_head_is_431(tmp_path: Path) -> None:
    limits = ConnectionLimits(header_bytes=4096)
    async with running_gateway(tmp_path, limits=limits) as gateway:
        answer = await raw(gateway, b"GET /health HTTP/1.1\r\nx: " + b"y" * 5000)
        assert error_of(answer) == (431, "headers_too_large")
        answer = await raw(gateway, b"GET /" + b"y" * 5000)
        assert error_of(answer) == (431, "headers_too_large")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_broken_http_is_400_in_the_apis_shape(tmp_path: Path, request_bytes: bytes) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert error_of(await raw(gateway, request_bytes)) == (400, "invalid_http")
        assert await works(gateway)


async def test_connections_beyond_the_limit_are_refused_and_the_others_served(tmp_path: Path) -> None:
    limits = ConnectionLimits(connections=3)
    async with running_gateway(tmp_path, limits=limits) as gateway:
        idle = [await asyncio.open_connection(*gateway.address) for _ in range(3)]
        assert error_of(await raw(gateway)) == (503, "overloaded")
        idle.pop()[1].close()
        async with asyncio.timeout(HANG_S):
            while len(gateway.server.server_state.connections) > 2:
                await asyncio.sleep(0)
        assert await works(gateway)
        for _, writer in idle:
            writer.close()


async def test_a_client_that_reads_nothing_is_dropped_and_its_miner_stopped(tmp_path: Path) -> None:
    async def flood(request: web.Request, script: Script) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(script.events[0])
        while True:
            await response.write(script.events[1] * 200)

    async with running_gateway(tmp_path, flood, limits=QUICK) as gateway, asyncio.timeout(HANG_S):
        body = json.dumps(CHAT | {"stream": True}).encode()
        connection = socket.create_connection(gateway.address)
        connection.sendall(post(body))
        (record,) = await gateway.records_when(1)
        await gateway.miners[0].cancelled.wait()
        connection.close()
        assert record.outcome == "client_left"
        assert len(record.choices[0].output_token_ids) * len(WORD_EVENT) > SEND_BUFFER_BYTES // 2


WORD_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Miners"},"token_ids":[101]}]}\n\n'


async def test_two_requests_on_one_connection_are_both_answered(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        body = json.dumps(CHAT).encode()
        answer = await raw(gateway, post(body), post(body, b"connection: close"))
        assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_a_taken_port_is_told_in_words() -> None:
    with listen("127.0.0.1", 0) as taken, pytest.raises(ConfigError, match="choose another with --port"):
        listen("127.0.0.1", taken.getsockname()[1])


def test_an_impossible_host_is_told_in_words() -> None:
    with pytest.raises(ConfigError, match=r"203\.0\.113\.7"):
        listen("203.0.113.7", 0)
