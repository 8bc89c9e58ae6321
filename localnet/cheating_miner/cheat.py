"""What a cheat may change of the stock miner, and the service that runs with it changed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from miners.commitment_store import CommitmentStore
from miners.hidden_states.engine_capture import CapturedChoice, ModelShape
from miners.preparation import PreparedMiner
from miners.service import Answers, Capture, MinerService, ServiceBuilder, build_service
from miners.vllm_arguments import public_name
from shared.calibration import Calibration
from shared.challenges import ReplayPoint
from shared.model_identity import local_folder
from shared.signing import Signer


@dataclass(frozen=True)
class MinerParts:
    """What a cheat finds in the miner's process.

    Attributes:
        model_folder: the weights that the engine serves.
        model: its public name.
        engine: vLLM's engine client.
    """

    model_folder: Path
    model: str
    signer: Signer
    calibration: Calibration
    commitments: CommitmentStore
    capture: Capture
    engine: Any


class Cheat:
    """A miner that changes nothing: each cheat overrides the places where it lies."""

    def inside(self, app: ASGIApp) -> ASGIApp:
        """Stands between vLLM's server and the receipt, so that the receipt covers the lie."""
        return app

    def outside(self, app: ASGIApp) -> ASGIApp:
        """Stands between the receipt and the caller."""
        return app

    def capture(self, capture: Capture) -> Capture:
        """Stands between the engine's captures and the commitment."""
        return capture

    def answers(self, answers: Answers) -> Answers:
        """Stands between a challenge and the commitment."""
        return answers


Factory = Callable[[MinerParts], Cheat]


class ChangedCapture:
    """The engine's captures as they are; a cheat overrides what it lies about."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    @property
    def shape(self) -> ModelShape:
        """The served model's shape."""
        return self._capture.shape

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        """What the commitment is made of."""
        return await self._capture.collect(request_id)

    async def discard(self, request_id: str) -> None:
        """Forget a request that gets no receipt."""
        await self._capture.discard(request_id)

    async def replay(self, token_ids: Sequence[int], points: Sequence[ReplayPoint]) -> list[bytes]:
        """The engine's vectors for an auditor's tokens."""
        return await self._capture.replay(token_ids, points)


def cheating_service(factory: Factory) -> ServiceBuilder:
    """Builds the stock miner's parts with one cheat around them."""

    def build(prepared: PreparedMiner, capture: Capture, engine_client: Any) -> MinerService:
        cheat = factory(
            MinerParts(
                model_folder=local_folder(prepared.config.model),
                model=public_name(prepared.config),
                signer=prepared.signer,
                calibration=prepared.calibration,
                commitments=prepared.commitments,
                capture=capture,
                engine=engine_client,
            )
        )
        stock = build_service(prepared, cheat.capture(capture), engine_client.check_health)
        return replace(
            stock,
            answers=cheat.answers(stock.answers),
            with_receipts=lambda app: cheat.outside(stock.with_receipts(cheat.inside(app))),
        )

    return build
