from types import SimpleNamespace
from typing import Any

from miners.challenge_answers import ChallengeAnswers
from miners.commitment_store import CommitmentStore
from miners.config import MinerConfig
from miners.hidden_states.engine_capture import ModelShape
from miners.service import build_service, stock_service
from shared.canonical import sha256_hex
from tests.miners.captures import RecordedCaptures, RecordedReplays
from tests.shared.keys import MINER
from tests.shared.receipt_examples import example_commitment


class Capture(RecordedCaptures, RecordedReplays):
    """An engine's capture that holds nothing."""

    def __init__(self) -> None:
        RecordedCaptures.__init__(self, {})
        RecordedReplays.__init__(self)

    @property
    def shape(self) -> ModelShape:
        return ModelShape(num_layers=3, hidden_size=8)


def prepared(**settings: Any) -> Any:
    return SimpleNamespace(
        config=MinerConfig(served_model_name="tiny", **settings),
        signer=MINER,
        calibration=SimpleNamespace(digest=sha256_hex(b"calibration")),
        admission=None,
        commitments=CommitmentStore(1 << 20, 100.0, lambda: 0.0),
    )


async def healthy() -> None:
    return None


def test_every_receipt_will_say_what_the_operator_and_the_engine_say() -> None:
    identity = stock_service(prepared(), Capture(), SimpleNamespace(check_health=healthy)).identity
    assert (identity.hotkey, identity.model) == (MINER.ss58_address, "tiny")
    assert (identity.num_layers, identity.hidden_size) == (3, 8)
    assert identity.calibration_digest == sha256_hex(b"calibration")


def test_the_stock_miner_answers_challenges_itself_and_asks_the_engine_for_its_health() -> None:
    service = stock_service(prepared(), Capture(), SimpleNamespace(check_health=healthy))
    assert isinstance(service.answers, ChallengeAnswers)
    assert service.check_engine is healthy


async def test_challenges_are_answered_from_the_store_that_was_prepared() -> None:
    miner = prepared()
    service = build_service(miner, Capture(), healthy)
    commitment = example_commitment()
    miner.commitments.add(commitment)
    point = commitment.points().points[0]
    body = (
        f'{{"form":"open","request_id":"{commitment.request_id}",'
        f'"points":[{{"choice":0,"position":{point.position},"layer":{point.layer}}}]}}'
    )
    assert b'"openings":[{' in await service.answers.answer(body.encode())
