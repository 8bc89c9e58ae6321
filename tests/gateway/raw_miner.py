"""A miner below HTTP: it reads one request and writes exactly the bytes that a test gives it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.config import StaticMiner
from gateway.miner_list import ListedMiners
from tests.gateway.running_gateway import HANG_S, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import MODEL, Script, ScriptedMiner

Write = Callable[[bytes], Awaitable[None]]
RawBehaviour = Callable[[Write, Script], Awaitable[None]]

STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of HTTP/1.1's chunked coding."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class RawMiner:
    """Listens on a loopback port; answers /health honestly and everything else as told."""

    def __init__(self, behaviour: RawBehaviour, keep_alive: bool = False) -> None:
        self._behaviour, self._keep_alive = behaviour, keep_alive
        self._signer = keypair("raw miner")
        self.hotkey = self._signer.ss58_address
        self.requests = 0
        self.connections = 0
        self.hung_up = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                await self._one(reader, writer)
                if not self._keep_alive:
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.hung_up.set()
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if head.startswith(b"get /health"):
            body = json.dumps({"status": "ok", "model": MODEL, "hotkey": self.hotkey}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()
            return
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        self.requests += 1

        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        await self._behaviour(write, self.script(body))

    def script(self, raw: bytes) -> Script:
        """What an honest miner would answer to a chat."""
        return ScriptedMiner(self._signer, "")._script(raw, "/v1/chat/completions")


@asynccontextmanager
async def gateway_before(tmp_path: Any, miner: RawMiner, **settings: Any) -> AsyncIterator[RunningGateway]:
    """A gateway in front of one raw miner."""
    async with asyncio.timeout(HANG_S):
        server = await asyncio.start_server(miner, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        source = ListedMiners(lambda: [StaticMiner(f"{host}:{port}", miner.hotkey)])
        try:
            async with running_gateway(tmp_path, source=source, **settings) as gateway:
                yield gateway
        finally:
            server.close()
