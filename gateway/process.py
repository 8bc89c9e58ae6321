"""The gateway as a process: its parts put together, run until a signal, and taken down in order."""

import asyncio
import logging
import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from gateway.admission import Admission, open_admission
from gateway.app import GatewayApp, build_other_routes
from gateway.calibration import load_calibration
from gateway.clock import Clock, SystemClock
from gateway.config import GatewayConfig, static_miners
from gateway.context_check import ContextCheck
from gateway.directed_callers import DirectedCallers
from gateway.discovery import Discovery, MetagraphSource, MinerSource, StaticSource
from gateway.dispatch import Dispatcher
from gateway.health import Health
from gateway.health_probe import HealthProbe
from gateway.http_server import ConnectionLimits, GatewayServer, build_server, listen
from gateway.miners import MinerTable
from gateway.openai_routes import InferenceRoutes
from gateway.prompt_tokens import PromptTokens
from gateway.recording import Recorder, RecordLog
from gateway.routing import RandomSource
from gateway.tokenizer_routes import Tokenization
from gateway.upstream import MinerClient, Timeouts, open_session
from shared.chain import SubtensorChain, check_network, is_local_network
from shared.errors import ConfigError
from shared.model_identity import public_model_name
from shared.record_log import RecordWriter
from shared.signing import Signer
from shared.wallets import load_hotkey

log = logging.getLogger(__name__)

RECORDS_FOLDER = "records"


@dataclass(frozen=True)
class Surroundings:
    """What the gateway gets from outside, so that tests pass their own."""

    signer: Signer
    source: MinerSource
    allow_local: bool
    records: RecordLog
    clock: Clock
    random: RandomSource


@dataclass(frozen=True)
class Gateway:
    """The parts of a running gateway."""

    app: GatewayApp
    discovery: Discovery
    recorder: Recorder
    table: MinerTable
    admission: Admission
    tokens: PromptTokens


@asynccontextmanager
async def assemble(config: GatewayConfig, around: Surroundings) -> AsyncIterator[Gateway]:
    """Put the parts together; at the end their connections are closed and the log is synced.

    Raises:
        ConfigError: the calibration file can't be served, or the database of keys can't be opened.
    """
    calibration = await asyncio.to_thread(
        load_calibration, config.model, config.calibration, config.state_dir
    )
    model = config.served_model_name or public_model_name(config.model)
    hotkey = around.signer.ss58_address
    timeouts = Timeouts(
        config.connect_timeout_s, config.first_byte_timeout_s, config.idle_timeout_s, config.answer_timeout_s
    )
    recorder = Recorder(around.records)
    admission = await asyncio.to_thread(open_admission, config, around.clock)
    tokens = PromptTokens(config.model, config.max_model_len)
    table = MinerTable(around.clock, around.allow_local)
    try:
        async with open_session(config.connect_timeout_s) as session:
            probe = HealthProbe(session, model)
            discovery = Discovery(around.source, table, probe, around.clock, config.metagraph_seconds)
            miners = MinerClient(session, around.signer, timeouts)
            dispatcher = Dispatcher(model, hotkey, table, miners, recorder, around.clock, around.random)
            directed = DirectedCallers(hotkey, config.trusted_callers)
            context = ContextCheck(tokens)
            inference = InferenceRoutes(
                model, config.max_body_bytes, admission, directed, context, dispatcher, around.clock
            )
            health = Health(model, hotkey, table, discovery, recorder)
            tokenization = Tokenization(model, config.max_body_bytes, admission, tokens)
            created_at_s = around.clock.unix_ms() // 1000
            others = build_other_routes(model, created_at_s, health, calibration, tokens, tokenization)
            yield Gateway(GatewayApp(inference, others), discovery, recorder, table, admission, tokens)
    finally:
        tokens.close()
        await admission.close()
        await recorder.close()


@asynccontextmanager
async def background(*loops: Any) -> AsyncIterator[None]:
    """Run endless coroutines beside the block; they are cancelled and awaited at its end."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def serve(config: GatewayConfig, around: Surroundings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT: then stop accepting, finish running answers, sync the log."""
    limits = ConnectionLimits(connections=config.max_connections)
    async with assemble(config, around) as gateway:
        loops = (
            gateway.discovery.run(),
            gateway.recorder.run(config.sync_seconds),
            gateway.admission.run(),
            gateway.tokens.load(),
        )
        async with background(*loops):
            server = build_server(gateway.app, limits, config.shutdown_seconds, config.trusted_proxies)
            _stop_on_signals(server)
            host, port = listener.getsockname()[:2]
            log.info("the gateway listens on %s port %d", host, port)
            await server.serve(sockets=[listener])
    log.info("the gateway has stopped; all records are on disk")


def _stop_on_signals(server: GatewayServer) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, server.handle_exit, number, None)


def run(config: GatewayConfig) -> int:
    """Run the gateway; gives its exit status.

    Raises:
        ConfigError: the network, the wallet, the port or the record log can't be had.
    """
    check_network(config.network)
    signer = load_hotkey(config.wallet, config.hotkey, config.wallet_path)
    with listen(config.host, config.port) as listener:
        records = _open_records(config)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(config, signer, records, listener))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, which is faster; asyncio's own otherwise."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _open_records(config: GatewayConfig) -> RecordWriter:
    folder = config.state_dir.expanduser() / RECORDS_FOLDER
    try:
        return RecordWriter(folder)
    except OSError as error:
        raise ConfigError(
            f"the record log in {folder} can't be written: {error}; choose another --state-dir"
        ) from None


async def _run(config: GatewayConfig, signer: Signer, records: RecordWriter, listener: socket.socket) -> None:
    chain = SubtensorChain(config.network, config.netuid)
    source: MinerSource = (
        MetagraphSource(chain, signer.ss58_address)
        if config.discover
        else StaticSource(static_miners(config.miners))
    )
    allow_local = is_local_network(config.network) or not config.discover
    around = Surroundings(signer, source, allow_local, records, SystemClock(), random.SystemRandom())
    try:
        await serve(config, around, listener)
    finally:
        await chain.close()
