"""The `vllm.endpoint_plugins` entry point: the miner's own routes, and its start once the engine is ready."""

import asyncio
import logging
from argparse import Namespace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import State

from miners.axon_address import axon_address
from miners.chain_watch import ChainWatch
from miners.errors import RequestRefused
from miners.front import HEALTH_PATH, SERVICE
from miners.hidden_states.engine_capture import EngineCapture
from miners.metrics_port import show_metrics
from miners.preparation import PreparedMiner
from miners.presence import Presence
from miners.self_test import check_replay
from miners.service import MinerService, ServiceBuilder
from shared.alert_webhook import Sender, alerting
from shared.chain import SubtensorChain
from shared.challenges import CHALLENGE_PATH
from shared.logs import set_up_logs
from shared.service_notify import heartbeat

log = logging.getLogger(__name__)

PREPARED = "constantinople"
"""Attribute of vLLM's parsed arguments that holds the `PreparedMiner`."""

BUILDER = "constantinople_builder"
"""Attribute beside it that holds the `ServiceBuilder`."""

ENGINE_DEADLINE_S = 150.0
"""A replay waits behind what the engine serves. The unit's WatchdogSec=600 leaves room for a second try."""

router = APIRouter()


def _service(request: Request) -> MinerService:
    service: MinerService = getattr(request.app.state, SERVICE)
    return service


@router.post(CHALLENGE_PATH)
async def hidden_state(request: Request) -> Response:
    """Answer an auditor's challenge."""
    try:
        answer = await _service(request).answers.answer(await request.body())
    except RequestRefused as refusal:
        return JSONResponse(refusal.body, refusal.status)
    return Response(answer, media_type="application/json")


@router.get(HEALTH_PATH)
async def health(request: Request) -> JSONResponse:
    """Who serves what here; 503 when the engine is dead. Replaces vLLM's route of the same path."""
    from vllm.v1.engine.exceptions import EngineDeadError

    service = _service(request)
    identity = service.identity
    try:
        await service.check_engine()
    except EngineDeadError:
        return JSONResponse({"status": "the engine is dead"}, 503)
    return JSONResponse(
        {
            "status": "ok",
            "model": identity.model,
            "num_layers": identity.num_layers,
            "hidden_size": identity.hidden_size,
            "hotkey": identity.hotkey,
            "calibration_digest": identity.calibration_digest,
        }
    )


class HiddenStateEndpoint:
    """vLLM's `EndpointPlugin` protocol."""

    name = "constantinople"
    required_tasks = ("generate",)

    def attach_router(self, app: FastAPI) -> None:
        """Add the miner's routes."""
        app.include_router(router)

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Install the capture, run the self-test, and begin to appear on chain.

        Raises:
            ModelError: the engine can't be captured, or the calibration is another model's.
            SelfTestFailed: the engine computes something else than the reference.
        """
        # A library that vLLM imports meanwhile has silenced everything below ERROR.
        set_up_logs()
        prepared: PreparedMiner = getattr(args, PREPARED)
        prepared.engine_end.watch(engine_client)
        capture = EngineCapture(engine_client)
        await capture.install(prepared.calibration_file)
        await _self_test(prepared, capture)
        build: ServiceBuilder = getattr(args, BUILDER)
        service = build(prepared, capture, engine_client)
        setattr(state, SERVICE, service)
        # The loop holds tasks weakly; the application's state keeps these.
        watch = _watched_chain(prepared)
        state.presence = asyncio.create_task(_presence(prepared, watch).run())
        state.alerts = asyncio.create_task(_alert(prepared, watch))
        if service.metrics is not None:
            service.metrics.troubles = watch.troubles
            show_metrics(service.metrics, prepared.config.metrics_port)
        state.heartbeat = asyncio.create_task(_tell_systemd(prepared, capture))


async def _self_test(prepared: PreparedMiner, capture: EngineCapture) -> None:
    reference = prepared.reference
    vectors = await capture.replay(reference.token_ids, reference.points)
    words = check_replay(reference, vectors, prepared.calibration)
    log.info("self-test: the engine computes what the reference does: %s", words)


def _watched_chain(prepared: PreparedMiner) -> ChainWatch:
    config = prepared.config
    chain = SubtensorChain(config.network, config.netuid, prepared.wallet)
    return ChainWatch(chain, prepared.signer.ss58_address)


def _presence(prepared: PreparedMiner, chain: ChainWatch) -> Presence:
    return Presence(
        chain, prepared.signer.ss58_address, lambda: axon_address(prepared.config), prepared.admission
    )


async def _tell_systemd(prepared: PreparedMiner, capture: EngineCapture) -> None:
    """Have systemd restart a miner whose engine hangs: it lives while it replays; until cancelled."""
    token_ids, points = prepared.reference.token_ids, prepared.reference.points[:1]

    async def replays() -> bool:
        async with asyncio.timeout(ENGINE_DEADLINE_S):
            return bool(await capture.replay(token_ids, points))

    async with heartbeat(replays):
        await asyncio.Event().wait()


async def _alert(prepared: PreparedMiner, chain: ChainWatch) -> None:
    """Tell the operator's webhook of troubles, if there is one; until cancelled."""
    sender = Sender("miner", prepared.signer.ss58_address)

    def troubles() -> dict[str, str]:
        disk = prepared.commitments.disk_trouble
        return {**chain.troubles(), **({"commitments": disk} if disk else {})}

    async with alerting(prepared.config.alert_webhook, sender, troubles):
        await asyncio.Event().wait()
