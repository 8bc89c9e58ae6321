"""The gateway as a process: its parts put together, run until a signal, and taken down in order."""

import asyncio
import gc
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from gateway.admission import Admission, anonymous_limits, open_admission
from gateway.app import GatewayApp, build_other_routes
from gateway.calibration import load_calibration
from gateway.clock import Clock, SystemClock
from gateway.config import GatewayConfig, networks, read_miners_file, static_miners
from gateway.connection_pool import open_pool
from gateway.context_check import ContextCheck
from gateway.directed_callers import DirectedCallers
from gateway.discovery import Discovery, MetagraphSource, MinerSource
from gateway.dispatch import Dispatcher
from gateway.drain import Drain
from gateway.exposition import Exposition, shared_folder
from gateway.gauges import show_gateway
from gateway.health import Health, Readiness
from gateway.health_probe import HealthProbe
from gateway.http_server import ConnectionLimits, GatewayServer, build_server, listen
from gateway.metrics import Metrics
from gateway.metrics_port import metrics_port
from gateway.miner_list import FileWatch, ListedMiners
from gateway.miners import MinerTable
from gateway.observed import Observed, PathNames, next_request_id
from gateway.observed_records import ObservedRecords
from gateway.openai_routes import InferenceRoutes
from gateway.operation_routes import OPERATION_PATHS, MetricsRoute, OperationRoutes
from gateway.prompt_tokens import PromptTokens
from gateway.provenance import Provenance, open_provenance
from gateway.public_guard import PublicGuard
from gateway.randomness import BufferedSystemRandom
from gateway.record_routes import RecordAccess
from gateway.recording import Recorder, RecordLog
from gateway.reload import Settings
from gateway.routing import RandomSource
from gateway.serving import Bounds
from gateway.subnet_hotkeys import SubnetHotkeys
from gateway.tokenizer_routes import Tokenization
from gateway.tracing import Tracing, open_tracing
from gateway.upstream import MinerClient, Timeouts, open_session
from gateway.waiting_line import WaitingLine
from gateway.wallet_sign_in import open_sign_in
from shared.alert_webhook import Sender, alerting
from shared.build import build_labels
from shared.chain import Chain, SubtensorChain, check_network, is_local_network
from shared.diagnosis_http import ask_health
from shared.errors import ConfigError
from shared.machine_facts import callable_host
from shared.model_identity import public_model_name
from shared.record_folders import records_folder, worker_folder
from shared.record_log import RecordWriter
from shared.service_notify import heartbeat
from shared.signing import Signer
from shared.wallets import load_hotkey

log = logging.getLogger(__name__)

COLLECT_AFTER = 10_000
"""Objects that may be made, beyond those that went away, before cycles among young ones are looked for."""


@dataclass(frozen=True)
class Surroundings:
    """What the gateway gets from outside, so that tests pass their own."""

    signer: Signer
    chain: Chain
    source: MinerSource
    allow_local: bool
    records: RecordLog
    clock: Clock
    random: RandomSource
    settings: Settings | None = None
    """Where settings come from that change without a restart; None: nowhere."""
    tracing: Tracing | None = None
    """Where spans go, instead of to --otlp-endpoint."""
    worker: int | None = None
    """Which of several workers this process is; None when it is the only one."""


@dataclass(frozen=True)
class Gateway:
    """The parts of a running gateway.

    Attributes:
        metrics_app: serves /metrics on a port of its own, if the operator wants one.
    """

    app: ASGIApp
    metrics_app: ASGIApp
    discovery: Discovery
    recorder: Recorder
    table: MinerTable
    admission: Admission
    metrics: Metrics
    drain: Drain
    provenance: Provenance
    line: WaitingLine
    tokens: PromptTokens
    readiness: Readiness


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
    clock, drain = around.clock, Drain(config.drain_seconds)
    admission = await asyncio.to_thread(open_admission, config, clock)
    tokens = PromptTokens(config.model, config.max_model_len)
    hotkeys = SubnetHotkeys(around.chain, clock)
    provenance = await asyncio.to_thread(open_provenance, config, hotkey, hotkeys, clock, around.worker)
    sign_in = await asyncio.to_thread(open_sign_in, config, admission, hotkeys, hotkey, clock)
    table = MinerTable(clock, around.allow_local, provenance.standings)
    exposition = Exposition(shared_folder(), table.keys)
    metrics = Metrics(exposition.registry, build_labels(model, hotkey))
    tracing = around.tracing or open_tracing(config.otlp_endpoint, {"service.instance.id": hotkey})
    recorder = Recorder(ObservedRecords(around.records, metrics, clock))
    try:
        async with (
            open_session(config.connect_timeout_s) as session,
            open_pool(config.connect_timeout_s) as pool,
        ):
            probe = HealthProbe(session, model)
            discovery = Discovery(around.source, table, probe, clock, config.metagraph_seconds)
            miners = MinerClient(pool, around.signer, timeouts)
            dispatcher = Dispatcher(
                *(model, hotkey, table, miners, recorder, clock, around.random, Bounds.of(config)),
                next_request_id,
            )
            directed = DirectedCallers(hotkey, config.trusted_callers)
            inference = InferenceRoutes(
                *(model, config.max_body_bytes, admission, directed, ContextCheck(tokens), dispatcher, clock),
                store_by_default=config.store_by_default,
            )
            tokenization = Tokenization(model, config.max_body_bytes, admission, tokens)
            readiness = Readiness(table, discovery, recorder, admission, drain)
            health = Health(model, hotkey, table, discovery, recorder, readiness)
            others = build_other_routes(
                *(model, clock.unix_ms() // 1000, health, calibration, provenance.lookup, sign_in),
                *(tokens, tokenization, provenance.dataset, config.store_by_default),
                _record_access(config, hotkey, hotkeys),
            )
            show_gateway(metrics, table, discovery, recorder, admission, readiness, dispatcher.line, clock)
            metrics_app = MetricsRoute(metrics, exposition, networks("--metrics-allow", config.metrics_allow))
            here = metrics_app if config.metrics_port is None else None
            app = OperationRoutes(GatewayApp(inference, PublicGuard(others, clock)), readiness, here)
            names = PathNames(inference.paths.keys() | OPERATION_PATHS, others.routes)
            observed = Observed(
                *(app, metrics, names, clock, lambda: drain.draining),
                passes_trace=config.pass_trace_headers,
                tracing=tracing,
            )
            yield Gateway(
                *(observed, metrics_app, discovery, recorder, table, admission, metrics, drain, provenance),
                *(dispatcher.line, tokens, readiness),
            )
    finally:
        tokens.close()
        await asyncio.to_thread(provenance.close)
        await admission.close()
        await recorder.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)


def _record_access(config: GatewayConfig, hotkey: str, hotkeys: SubnetHotkeys) -> RecordAccess:
    validators = hotkeys if config.records_for_validators else None
    return RecordAccess(records_folder(config.state_dir), hotkey, config.trusted_callers, validators)


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


def _follow(settings: Settings, gateway: Gateway) -> None:
    """Have the parts take over what changes when settings are read again."""

    def take(config: GatewayConfig) -> None:
        gateway.admission.limit_anonymous(anonymous_limits(config))
        logging.getLogger().setLevel(config.log_level)
        gateway.discovery.look_now()

    settings.follow(take)
    gateway.metrics.count_errors("settings", lambda: settings.errors)


async def serve(config: GatewayConfig, around: Surroundings, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT: then stop accepting, finish running answers, sync the log."""
    limits = ConnectionLimits(connections=config.max_connections)
    async with assemble(config, around) as gateway:
        loops = [gateway.discovery.run(), gateway.recorder.run(config.sync_seconds), gateway.admission.run()]
        loops += [*gateway.provenance.loops(), gateway.tokens.load()]
        if shared_folder():
            loops.append(gateway.metrics.run())
        if config.miners_file is not None:
            loops.append(FileWatch(config.miners_file.expanduser(), gateway.discovery.look_now).run())
        if around.settings is not None:
            _follow(around.settings, gateway)
        # Workers see the same: the first speaks for all.
        webhook = config.alert_webhook if around.worker in (None, 1) else None
        sender = Sender("gateway", around.signer.ss58_address)
        async with background(*loops), alerting(webhook, sender, gateway.readiness.troubles):
            _spare_the_collector()
            server = build_server(
                *(gateway.app, limits, config.shutdown_seconds, config.trusted_proxies),
                observers=[gateway.metrics.request_refused],
            )
            connections = gateway.metrics.gauge("connections", "Connections of clients.", "livesum")
            gateway.metrics.before_scrape(lambda: connections.set(len(server.server_state.connections)))
            _heed_signals(server, gateway.drain, around.settings)
            host, port = listener.getsockname()[:2]

            async def answers() -> bool:
                return (await ask_health(callable_host(host), port)).body is not None

            async with (
                metrics_port(config.host, config.metrics_port, gateway.metrics_app),
                heartbeat(answers),
            ):
                log.info("the gateway listens on %s port %d", host, port)
                await server.serve(sockets=[listener])
    log.info("the gateway has stopped; all records are on disk")


def _spare_the_collector() -> None:
    """Keep Python's cycle collector from walking over what stays: some 300,000 objects of imported modules,
    walked every few thousand requests, were a seventh of the CPU time (`perf record`)."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def _heed_signals(server: GatewayServer, drain: Drain, settings: Settings | None) -> None:
    loop = asyncio.get_running_loop()
    if settings is not None:
        with suppress(NotImplementedError):
            loop.add_signal_handler(signal.SIGHUP, settings.reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, drain.signalled, server)


def run(config: GatewayConfig, read_again: Callable[[], GatewayConfig], worker: int | None = None) -> int:
    """Run the gateway; gives its exit status.

    Args:
        read_again: reads the settings anew, at SIGHUP.
        worker: which of several workers this process is, from 1; None when it is the only one.

    Raises:
        ConfigError: the network, the wallet, the port or the record log can't be had.
    """
    check_network(config.network)
    signer = load_hotkey(config.wallet, config.hotkey, config.wallet_path)
    with listen(config.host, config.port, shared=worker is not None) as listener:
        records = _open_records(config, worker)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(Settings(config, read_again), signer, records, listener, worker))
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, which is faster; asyncio's own otherwise."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _open_records(config: GatewayConfig, worker: int | None) -> RecordWriter:
    folder = records_folder(config.state_dir)
    if worker is not None:
        folder = worker_folder(folder, worker)
    try:
        return RecordWriter(folder)
    except OSError as error:
        raise ConfigError(
            f"the record log in {folder} can't be written: {error}; choose another --state-dir"
        ) from None


def _source(settings: Settings, chain: SubtensorChain, own_hotkey: str) -> MinerSource:
    if settings.now.discover:
        return MetagraphSource(chain, own_hotkey)
    file = settings.now.miners_file
    if file is not None:
        return ListedMiners(lambda: read_miners_file(file))
    return ListedMiners(lambda: static_miners(settings.now.miners))


async def _run(
    settings: Settings, signer: Signer, records: RecordWriter, listener: socket.socket, worker: int | None
) -> None:
    config = settings.now
    chain = SubtensorChain(config.network, config.netuid)
    source = _source(settings, chain, signer.ss58_address)
    allow_local = is_local_network(config.network) or not config.discover
    clock, chance = SystemClock(), BufferedSystemRandom()
    around = Surroundings(signer, chain, source, allow_local, records, clock, chance, settings, worker=worker)
    try:
        await serve(config, around, listener)
    finally:
        await chain.close()
