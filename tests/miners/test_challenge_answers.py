import asyncio
import base64
from collections.abc import Sequence

import pytest

from miners.challenge_answers import MAX_WAITING_REPLAYS, ChallengeAnswers
from miners.commitment_store import CommitmentStore
from miners.errors import RequestRefused
from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    CHALLENGE_DOMAIN,
    OpenAnswer,
    OpenPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayPoint,
    ReplayRequest,
)
from shared.commitments import leaf_bytes
from shared.errors import SignatureMismatch
from shared.merkle import path_leads_to_root
from shared.signing import check_signature
from tests.miners.captures import RecordedReplays
from tests.shared.keys import MINER, OTHER_MINER
from tests.shared.receipt_examples import example_commitment

COMMITMENT = example_commitment()
REPLAY = ReplayRequest(token_ids=(5, 6, 7), points=(ReplayPoint(position=2, layer=1),) * 2)


def answers(replays: RecordedReplays | None = None) -> ChallengeAnswers:
    store = CommitmentStore(1 << 20, 100.0, lambda: 0.0)
    store.add(COMMITMENT)
    return ChallengeAnswers(MINER, store, replays or RecordedReplays())


def opening_all() -> OpenRequest:
    points = [
        OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in COMMITMENT.points().points
    ]
    return OpenRequest(request_id=COMMITMENT.request_id, points=tuple(points))


async def opened(request: OpenRequest) -> OpenAnswer:
    return OpenAnswer.model_validate_json(await answers().answer(canonical_json(request)))


async def test_every_committed_point_opens_to_the_root() -> None:
    answer = await opened(opening_all())
    root, leaves = COMMITMENT.tree().root, len(COMMITMENT.points())
    assert len(answer.openings) == leaves
    for number, shown in enumerate(answer.openings):
        opening = shown.opening()
        leaf = leaf_bytes(opening.point, opening.token_id, opening.sketch)
        assert path_leads_to_root(leaf, number, leaves, opening.path, root)
        assert not path_leads_to_root(leaf, (number + 1) % leaves, leaves, opening.path, root)


async def test_an_answer_is_signed_by_the_miner_and_names_its_challenge() -> None:
    request = opening_all()
    answer = await opened(request)
    assert answer.challenge_digest == sha256_hex(canonical_json(request))
    check_signature(CHALLENGE_DOMAIN, answer, str(answer.signature), MINER.ss58_address)
    with pytest.raises(SignatureMismatch):
        check_signature(CHALLENGE_DOMAIN, answer, str(answer.signature), OTHER_MINER.ss58_address)


async def test_points_that_are_not_committed_are_absent() -> None:
    committed = COMMITMENT.points().points[0]
    beyond = OpenPoint(position=900, layer=1)
    known = OpenPoint(position=committed.position, layer=committed.layer)
    answer = await opened(OpenRequest(request_id=COMMITMENT.request_id, points=(beyond, known)))
    assert [shown.position for shown in answer.openings] == [committed.position]


async def test_an_unknown_request_is_404() -> None:
    request = OpenRequest(request_id="another-request", points=(OpenPoint(position=1, layer=1),))
    with pytest.raises(RequestRefused, match="another-request") as refused:
        await answers().answer(canonical_json(request))
    assert (refused.value.status, refused.value.code) == (404, "unknown_request")


async def test_a_replay_answers_every_point_in_order_signed() -> None:
    body = canonical_json(REPLAY)
    answer = ReplayAnswer.model_validate_json(await answers().answer(body))
    check_signature(CHALLENGE_DOMAIN, answer, str(answer.signature), MINER.ss58_address)
    assert answer.challenge_digest == sha256_hex(body)
    assert [(v.position, v.layer, base64.b64decode(v.vector)) for v in answer.vectors] == [
        (2, 1, bytes([1, 2] * 8))
    ] * 2


async def test_an_impossible_replay_is_400_in_the_engines_words() -> None:
    with pytest.raises(RequestRefused, match="3 tokens can't be replayed") as refused:
        await answers(RecordedReplays(longest=2)).answer(canonical_json(REPLAY))
    assert refused.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"form": "other"}', b"\xff", b'{"form": "open"}'])
async def test_malformed_challenges_are_400_in_words(body: bytes) -> None:
    with pytest.raises(RequestRefused, match="not a challenge") as refused:
        await answers().answer(body)
    assert refused.value.status == 400


class HeldReplays(RecordedReplays):
    """Replays that wait for leave."""

    def __init__(self) -> None:
        super().__init__()
        self.leave = asyncio.Event()

    async def replay(self, token_ids: Sequence[int], points: Sequence[ReplayPoint]) -> list[bytes]:
        await self.leave.wait()
        return await super().replay(token_ids, points)


async def test_waiting_replays_are_bounded_and_room_comes_back() -> None:
    held = HeldReplays()
    asked = answers(held)
    body = canonical_json(REPLAY)
    waiting = [asyncio.create_task(asked.answer(body)) for _ in range(MAX_WAITING_REPLAYS)]
    await asyncio.sleep(0)
    with pytest.raises(RequestRefused) as refused:
        await asked.answer(body)
    assert refused.value.status == 429
    held.leave.set()
    await asyncio.gather(*waiting)
    assert await asked.answer(body)
