"""The running miner's parts, put together once the engine is ready."""

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.types import ASGIApp

from miners.authentication import Authentication
from miners.challenge_answers import ChallengeAnswers, Replays
from miners.hidden_states.engine_capture import ModelShape
from miners.http_messages import BodyReader
from miners.metrics import CountedRequests, MinerMetrics
from miners.preparation import PreparedMiner
from miners.receipt_issuer import Captures, MinerIdentity, ReceiptIssuer
from miners.receipt_middleware import ReceiptMiddleware
from miners.vllm_arguments import public_name
from shared.build import build_labels
from shared.peer_auth import RequestVerifier


def unix_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Capture(Captures, Replays, Protocol):
    """What serving and challenges need of `EngineCapture`."""

    @property
    def shape(self) -> ModelShape:
        """The served model's shape."""
        ...


class Answers(Protocol):
    """What answers `POST /hidden_state`: `ChallengeAnswers`."""

    async def answer(self, body: bytes) -> bytes:
        """The answer to a challenge; raises RequestRefused."""
        ...


@dataclass(frozen=True)
class MinerService:
    """What routes and middleware share.

    Attributes:
        check_engine: returns while the engine lives, raises vLLM's EngineDeadError otherwise.
        metrics: what Prometheus is shown beside vLLM's own.
    """

    identity: MinerIdentity
    answers: Answers
    check_engine: Callable[[], Awaitable[Any]]
    with_receipts: Callable[[ASGIApp], ASGIApp]
    with_authentication: Callable[[ASGIApp], ASGIApp]
    metrics: MinerMetrics | None = None


ServiceBuilder = Callable[[PreparedMiner, Capture, Any], MinerService]
"""(what was prepared, the engine's capture, vLLM's engine client) → the parts that serve."""


def stock_service(prepared: PreparedMiner, capture: Capture, engine_client: Any) -> MinerService:
    """The parts of a miner around an engine whose capture is installed."""
    return build_service(prepared, capture, engine_client.check_health)


def build_service(
    prepared: PreparedMiner, capture: Capture, check_engine: Callable[[], Awaitable[Any]]
) -> MinerService:
    """Put the parts together."""
    config, signer = prepared.config, prepared.signer
    identity = MinerIdentity(
        hotkey=signer.ss58_address,
        model=public_name(config),
        num_layers=capture.shape.num_layers,
        hidden_size=capture.shape.hidden_size,
        calibration_digest=prepared.calibration.digest,
    )
    issuer = ReceiptIssuer(identity, signer, capture, prepared.commitments)
    verifier, bodies = RequestVerifier(signer.ss58_address), BodyReader()
    build = build_labels(identity.model, identity.hotkey)
    metrics = MinerMetrics(build, prepared.commitments, issuer, prepared.admission)
    return MinerService(
        identity=identity,
        answers=ChallengeAnswers(signer, prepared.commitments, capture),
        check_engine=check_engine,
        with_receipts=lambda app: ReceiptMiddleware(app, issuer, unix_ms, lambda: uuid.uuid4().hex),
        with_authentication=lambda app: CountedRequests(
            Authentication(app, verifier, prepared.admission, bodies), metrics.requests
        ),
        metrics=metrics,
    )
