"""The running miner's parts, put together once the engine is ready."""

import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp

from miners.authentication import Authentication
from miners.challenge_answers import ChallengeAnswers
from miners.commitment_store import CommitmentStore
from miners.hidden_states.engine_capture import EngineCapture
from miners.http_messages import BodyReader
from miners.preparation import PreparedMiner
from miners.receipt_issuer import MinerIdentity, ReceiptIssuer
from miners.receipt_middleware import ReceiptMiddleware
from shared.peer_auth import RequestVerifier


def unix_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class MinerService:
    """What routes and middleware share.

    Attributes:
        check_engine: returns while the engine lives, raises vLLM's EngineDeadError otherwise.
    """

    identity: MinerIdentity
    answers: ChallengeAnswers
    check_engine: Callable[[], Awaitable[Any]]
    with_receipts: Callable[[ASGIApp], ASGIApp]
    with_authentication: Callable[[ASGIApp], ASGIApp]


def build_service(
    prepared: PreparedMiner, model: str, capture: EngineCapture, check_engine: Callable[[], Awaitable[Any]]
) -> MinerService:
    """Put the parts together around an engine whose capture is installed."""
    config, signer = prepared.config, prepared.signer
    commitments = CommitmentStore(
        config.commitment_memory_mib << 20, config.challenge_window_seconds, time.monotonic
    )
    identity = MinerIdentity(
        hotkey=signer.ss58_address,
        model=model,
        num_layers=capture.shape.num_layers,
        hidden_size=capture.shape.hidden_size,
        calibration_digest=prepared.calibration.digest,
    )
    issuer = ReceiptIssuer(identity, signer, capture, commitments)
    verifier, bodies = RequestVerifier(signer.ss58_address), BodyReader()
    return MinerService(
        identity=identity,
        answers=ChallengeAnswers(signer, commitments, capture),
        check_engine=check_engine,
        with_receipts=lambda app: ReceiptMiddleware(app, issuer, unix_ms, lambda: uuid.uuid4().hex),
        with_authentication=lambda app: Authentication(app, verifier, prepared.admission, bodies),
    )
