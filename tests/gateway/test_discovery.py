"""Discovery over a chain that changes and fails, and miners whose /health lies, hangs or floods."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from gateway.clock import Clock
from gateway.discovery import Discovery, MetagraphSource, changes
from gateway.health_probe import MAX_HEALTH_BYTES, HealthProbe, judge_health
from gateway.miners import MinerListing, MinerTable
from gateway.upstream import open_session
from shared.chain import Block, Chain, Neuron
from shared.errors import ChainUnavailable
from tests.gateway.running_gateway import FakeClock, keypair
from tests.gateway.scripted_miner import MODEL, ScriptedMiner

OWN, ALICE, BOB = (keypair(name).ss58_address for name in ("gateway", "Alice", "Bob"))


class MetagraphInMemory:
    """A chain of which only the metagraph is asked."""

    def __init__(self, *neurons: Neuron) -> None:
        self.graph = list(neurons)
        self.away = False

    async def neurons(self) -> list[Neuron]:
        if self.away:
            raise ChainUnavailable("reading the metagraph failed at ws://nowhere: connection refused")
        return list(self.graph)

    async def head(self) -> Block:
        raise NotImplementedError

    async def block(self, number: int) -> Block:
        raise NotImplementedError

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]:
        raise NotImplementedError

    async def set_commitment(self, data: bytes) -> None:
        raise NotImplementedError

    async def commitments(self) -> dict[str, bytes]:
        raise NotImplementedError

    async def serve_axon(self, ip: str, port: int) -> None:
        raise NotImplementedError

    async def set_weights(self, weights: Any) -> None:
        raise NotImplementedError

    async def weights(self) -> dict[int, dict[int, int]]:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


def neuron(uid: int, hotkey: str, axon: str | None) -> Neuron:
    return Neuron(uid, hotkey, axon, validator_permit=False, stake_rao=0, last_update=0)


@asynccontextmanager
async def discovering(
    chain: Chain, allow_local: bool = True, clock: Clock | None = None, timeout_s: float = 60.0
) -> AsyncIterator[tuple[Discovery, MinerTable]]:
    clock = clock or FakeClock()
    table = MinerTable(clock, allow_local)
    async with open_session(1.0) as session:
        probe = HealthProbe(session, MODEL, timeout_s=timeout_s)
        yield Discovery(MetagraphSource(chain, OWN), table, probe, clock, 30.0), table


def honest_miner(name: str) -> ScriptedMiner:
    return ScriptedMiner(keypair(name), OWN)


async def test_a_miner_whose_health_names_our_model_is_callable() -> None:
    async with honest_miner("Alice").serving() as miner:
        chain = MetagraphInMemory(neuron(4, ALICE, miner.address), neuron(5, BOB, None))
        async with discovering(chain) as (discovery, table):
            await discovery.refresh()
            assert [load.uid for load in table.loads(without=())] == [4]
            assert "no address" in table.get(5).why_not_callable


async def test_the_gateways_own_hotkey_is_never_called() -> None:
    async with ScriptedMiner(keypair("gateway"), OWN).serving() as itself:
        chain = MetagraphInMemory(neuron(0, OWN, itself.address))
        async with discovering(chain) as (discovery, table):
            await discovery.refresh()
            assert list(table.all()) == []


async def test_loopback_is_refused_on_a_public_network_and_not_even_asked() -> None:
    asked: list[str] = []

    async def note(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.json_response({})

    async with health_server(note) as address:
        chain = MetagraphInMemory(neuron(1, ALICE, address))
        async with discovering(chain, allow_local=False) as (discovery, table):
            await discovery.refresh()
            assert "public" in table.get(1).why_not_callable
            assert asked == []


async def test_the_last_list_stays_when_the_chain_is_away() -> None:
    clock = FakeClock()
    async with honest_miner("Alice").serving() as miner:
        chain = MetagraphInMemory(neuron(4, ALICE, miner.address))
        async with discovering(chain, clock=clock) as (discovery, table):
            assert discovery.list_age_s() is None
            await discovery.refresh()
            chain.away = True
            clock.advance(60)
            await discovery.refresh()
            assert table.get(4).callable
            assert "connection refused" in str(discovery.chain_error)
            assert discovery.list_age_s() == 60
            chain.away = False
            await discovery.refresh()
            assert discovery.chain_error is None
            assert discovery.list_age_s() == 0


async def test_a_chain_that_was_never_there_leaves_an_empty_list() -> None:
    chain = MetagraphInMemory()
    chain.away = True
    async with discovering(chain) as (discovery, table):
        await discovery.refresh()
        assert list(table.all()) == []
        assert discovery.chain_error is not None


async def test_a_new_hotkey_and_a_new_axon_are_noticed_at_the_next_reading() -> None:
    async with honest_miner("Alice").serving() as first, honest_miner("Bob").serving() as second:
        chain = MetagraphInMemory(neuron(4, ALICE, first.address))
        async with discovering(chain) as (discovery, table):
            await discovery.refresh()
            chain.graph = [neuron(4, BOB, second.address)]
            await discovery.refresh()
            assert (table.get(4).hotkey, table.get(4).callable) == (BOB, True)
            chain.graph = [neuron(4, BOB, first.address)]
            await discovery.refresh()
            assert "another hotkey" in table.get(4).why_not_callable


async def test_a_miner_that_moves_keeps_what_is_known_of_it_and_is_called_at_its_new_address(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with honest_miner("Alice").serving() as old, honest_miner("Alice").serving() as new:
        chain = MetagraphInMemory(neuron(4, ALICE, old.address), neuron(5, BOB, None))
        async with discovering(chain) as (discovery, table):
            await discovery.refresh()
            known = table.get(4)
            chain.graph = [neuron(4, ALICE, new.address)]
            with caplog.at_level(logging.INFO):
                await discovery.refresh()
            assert table.get(4) is known
            assert known.callable
            assert known.endpoint.url == f"http://{new.address}"
            assert (
                f"miner 4 ({ALICE}) has moved from http://{old.address} to http://{new.address}"
                in caplog.text
            )
            assert f"miner 5 ({BOB}) has left the list" in caplog.text
            assert [miner.uid for miner in table.all()] == [4]


async def test_a_subnet_that_is_suddenly_empty_is_not_believed() -> None:
    async with honest_miner("Alice").serving() as miner:
        chain = MetagraphInMemory()
        async with discovering(chain) as (discovery, table):
            await discovery.refresh()
            assert discovery.chain_error is None, "an empty subnet is one, until it has somebody"
            chain.graph = [neuron(4, ALICE, miner.address)]
            await discovery.refresh()
            chain.graph = []
            await discovery.refresh()
            assert table.get(4).callable
            assert "no neuron at all" in str(discovery.chain_error)


def test_a_hotkey_on_another_uid_is_told() -> None:
    before, after = (
        [MinerListing(4, ALICE, "a:1")],
        [MinerListing(6, ALICE, "a:1"), MinerListing(4, BOB, None)],
    )
    assert changes(before, after) == [f"{ALICE} is miner 6, and was miner 4"]
    assert changes(after, after) == []


async def test_a_miner_that_dies_stops_being_callable_and_comes_back() -> None:
    async with honest_miner("Alice").serving() as miner:
        chain = MetagraphInMemory(neuron(4, ALICE, miner.address))
        async with discovering(chain) as (discovery, table):
            await discovery.refresh()
            miner.health["status"] = "starting"
            await discovery.refresh()
            assert "starting" in table.get(4).why_not_callable
            miner.health["status"] = "ok"
            await discovery.refresh()
            assert table.get(4).callable


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def health_server(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/health", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"{host}:{port}"
    finally:
        await runner.cleanup()


async def redirect(request: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("http://169.254.169.254/latest/meta-data")


async def hang(request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def flood(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 10_000)


async def garbage(request: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\xff\x00{")


async def unavailable(request: web.Request) -> web.StreamResponse:
    return web.json_response({"status": "ok", "model": MODEL, "hotkey": ALICE}, status=503)


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (redirect, "HTTP 302"),
        (hang, "within 0.3 s"),
        (flood, "longer than"),
        (garbage, "not JSON"),
        (unavailable, "HTTP 503"),
    ],
)
async def test_a_strange_health_makes_a_miner_uncallable(handler: Handler, reason: str) -> None:
    timeout_s = 0.3 if handler is hang else 60.0
    async with health_server(handler) as address:
        chain = MetagraphInMemory(neuron(1, ALICE, address))
        async with discovering(chain, timeout_s=timeout_s) as (discovery, table):
            await discovery.refresh()
            assert reason in table.get(1).why_not_callable


async def test_one_hanging_miner_does_not_keep_others_from_being_asked() -> None:
    async with health_server(hang) as stuck, honest_miner("Bob").serving() as miner:
        chain = MetagraphInMemory(neuron(1, ALICE, stuck), neuron(2, BOB, miner.address))
        async with discovering(chain, timeout_s=2.0) as (discovery, table):
            await discovery.refresh()
            assert [load.uid for load in table.loads(without=())] == [2]


async def test_a_closed_port_is_told_in_words() -> None:
    async with discovering(MetagraphInMemory(neuron(1, ALICE, "127.0.0.1:1"))) as (discovery, table):
        await discovery.refresh()
        assert "does not answer" in table.get(1).why_not_callable


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "not a JSON object"),
        (b"{}", "its health is 'None'"),
        (b'{"status":"ok"}', "it serves"),
        (b'{"status":"ok","model":"gpt-2"}', "'gpt-2'"),
        (b'{"status":"ok","model":["test/model"]}', "it serves"),
        (b'{"status":"ok","model":"test/model","hotkey":"x"}', "another hotkey"),
        (b" " * (MAX_HEALTH_BYTES + 1), "longer"),
    ],
)
def test_what_is_wrong_with_a_health_is_said(body: bytes, reason: str) -> None:
    assert reason in judge_health(body, MODEL, ALICE)


def test_an_honest_health_may_say_more() -> None:
    body = f'{{"status":"ok","model":"{MODEL}","hotkey":"{ALICE}","num_layers":30}}'
    assert judge_health(body.encode(), MODEL, ALICE) == ""
