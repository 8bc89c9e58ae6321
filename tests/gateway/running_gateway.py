"""A whole gateway on a loopback port, in the test's event loop; clock and randomness are the test's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bittensor.sp_core import Keypair
from openai import AsyncOpenAI, OpenAI

from gateway.config import GatewayConfig, StaticMiner
from gateway.discovery import MinerSource
from gateway.http_server import ConnectionLimits, GatewayServer, build_server, listen
from gateway.miner_list import ListedMiners
from gateway.process import Gateway, Surroundings, assemble
from gateway.recording import RecordLog
from gateway.routing import RandomSource
from gateway.tracing import Tracing
from shared.chain import Chain
from shared.record_log import Cursor, RecordReader, RecordWriter
from shared.records import RequestRecord
from tests.gateway.scripted_miner import MODEL, Behaviour, ScriptedMiner, honest
from tests.validator.auditor_examples import ExampleChain

HANG_S = 60.0
"""A test that waits longer than this has found a hang."""


class FakeClock:
    """Time stands still until it is advanced."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic_s(self) -> float:
        return self.now_s

    def unix_ms(self) -> int:
        return 1_700_000_000_000 + int(self.now_s * 1000)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class InOrder:
    """A random source that never explores and draws miners in the order of their uids."""

    def random(self) -> float:
        return 0.99

    def randrange(self, stop: int, /) -> int:
        return 0


class Exploring(InOrder):
    """A random source that always gives the floor's share to who is below it."""

    def random(self) -> float:
        return 0.1


def keypair(name: str) -> Any:
    return Keypair.create_from_uri(f"//{name}")


_DEFAULTS: dict[str, Any] = {
    "model": MODEL,
    "miners": ("set",),
    "anonymous_requests_per_minute": 0,
    "anonymous_tokens_per_minute": 0,
}


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that listens, and the miners behind it."""

    parts: Gateway
    miners: Sequence[ScriptedMiner]
    clock: FakeClock
    folder: Path
    server: GatewayServer

    @property
    def url(self) -> str:
        host, port = self.server.servers[0].sockets[0].getsockname()
        return f"http://{host}:{port}"

    @property
    def openai(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def openai_sync(self) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    async def idle(self) -> None:
        """Wait until every request has ended on the gateway's side too."""
        await asyncio.gather(*self.server.server_state.tasks)

    def records(self) -> list[RequestRecord]:
        return RecordReader(self.folder).read(Cursor(), 1000)[0]

    async def records_when(self, count: int) -> list[RequestRecord]:
        """The records, as soon as there are `count`."""
        async with asyncio.timeout(HANG_S):
            while len(records := self.records()) < count:
                await asyncio.sleep(0)
            return records


@asynccontextmanager
async def running_gateway(
    tmp_path: Path,
    *behaviours: Behaviour,
    limits: ConnectionLimits | None = None,
    records: RecordLog | None = None,
    source: MinerSource | None = None,
    random_source: RandomSource | None = None,
    tracing: Tracing | None = None,
    chain: Chain | None = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """A gateway in front of one scripted miner per behaviour; one honest miner when none is given."""
    signer = keypair("gateway")
    clock, folder = FakeClock(), tmp_path / "state" / "records"
    async with AsyncExitStack() as stack:
        miners = [
            await stack.enter_async_context(
                ScriptedMiner(keypair(f"miner{number}"), signer.ss58_address, behaviour).serving()
            )
            for number, behaviour in enumerate(behaviours or (honest,))
        ]
        around = Surroundings(
            signer=signer,
            chain=chain or ExampleChain([]),
            source=source or ListedMiners(lambda: [StaticMiner(one.address, one.hotkey) for one in miners]),
            allow_local=True,
            records=records or RecordWriter(folder),
            clock=clock,
            random=random_source or InOrder(),
            tracing=tracing,
        )
        config = replace(GatewayConfig(**_DEFAULTS, state_dir=tmp_path / "state"), **settings)
        parts = await stack.enter_async_context(assemble(config, around))
        await parts.discovery.refresh()
        server = await stack.enter_async_context(_listening(parts, limits or ConnectionLimits(), config))
        yield RunningGateway(parts, miners, clock, folder, server)


@asynccontextmanager
async def _listening(
    parts: Gateway, limits: ConnectionLimits, config: GatewayConfig
) -> AsyncIterator[GatewayServer]:
    """The gateway's real server without its main loop, whose ticks would only cost the tests time."""
    server = build_server(
        parts.app, limits, 0, config.trusted_proxies, observers=[parts.metrics.request_refused]
    )
    server.config.load()
    server.lifespan = server.config.lifespan_class(server.config)
    with listen("127.0.0.1", 0) as listener:
        await server.startup(sockets=[listener])
        try:
            yield server
        finally:
            for asyncio_server in server.servers:
                asyncio_server.close()
            for connection in list(server.server_state.connections):
                connection.transport.abort()
            tasks = list(server.server_state.tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Who answers?"}]}
COMPLETION: dict[str, Any] = {"model": MODEL, "prompt": "Who answers?"}
