"""Cheats under challenge: late computation, replayed openings, refusals."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from localnet.cheating_miner.cheat import MinerParts
from localnet.cheating_miner.late_computation import LateComputation
from localnet.cheating_miner.refuse_unknown import RefuseUnknown, template_start
from localnet.cheating_miner.replayed_opening import ReplayedOpening
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
from shared.commitments import Opening, Point, leaf_bytes
from shared.merkle import path_leads_to_root
from shared.signing import check_signature
from shared.sketches import sketch, sketch_to_bytes
from tests.localnet.cheating_miner.rig import HELLO, ID, LAYERS, Engine, Rig, prompt_ids
from tests.shared.keys import MINER

LONG = [{"role": "user", "content": "A longer question. " * 12}]


async def opened(rig: Rig, points: list[Point], request_id: str = ID) -> list[Opening]:
    """The openings of an answer that is signed and names its challenge."""
    asked = tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in points)
    body = canonical_json(OpenRequest(request_id=request_id, points=asked))
    answer = OpenAnswer.model_validate_json(await rig.service.answers.answer(body))
    check_signature(CHALLENGE_DOMAIN, answer, str(answer.signature), MINER.ss58_address)
    assert answer.challenge_digest == sha256_hex(body)
    return [opening.opening() for opening in answer.openings]


def points_of(rig: Rig, request_id: str = ID) -> list[Point]:
    held = rig.commitments.get(request_id)
    assert held is not None
    return held.points().points


def leads_to_root(rig: Rig, opening: Opening, request_id: str = ID) -> bool:
    held = rig.commitments.get(request_id)
    assert held is not None
    number = held.points().leaf_number(opening.point)
    assert number is not None
    leaf = leaf_bytes(opening.point, opening.token_id, opening.sketch)
    return path_leads_to_root(leaf, number, len(held.points()), opening.path, held.tree().root)


MEAN, DEVIATION = torch.zeros(8), torch.ones(8)


class TrueVectors(Engine):
    """Replays vectors that name their place."""

    async def replay(self, token_ids: Any, points: Any) -> list[bytes]:
        await super().replay(token_ids, points)
        return [vector(point).view(torch.uint8).numpy().tobytes() for point in points]


def vector(point: Point | ReplayPoint) -> torch.Tensor:
    return torch.arange(8).add(point.position * 10.0 + point.layer).to(torch.bfloat16)


def late(parts: MinerParts) -> LateComputation:
    calibration: Any = SimpleNamespace(layer=lambda layer: (MEAN, DEVIATION))
    return LateComputation(replace(parts, capture=TrueVectors(), calibration=calibration))


async def test_late_computation_shows_true_sketches_that_were_not_committed_to() -> None:
    rig = Rig(late)
    await rig.ask(messages=LONG)
    points = points_of(rig)
    openings = await opened(rig, points)
    assert [one.point for one in openings] == points
    for opening in openings:
        assert opening.sketch == sketch_to_bytes(sketch(vector(opening.point), MEAN, DEVIATION))
        assert not leads_to_root(rig, opening)


async def test_late_computation_answers_for_committed_points_only() -> None:
    rig = Rig(late)
    await rig.ask()
    assert await opened(rig, [Point(0, 4000, 1), points_of(rig)[0]]) != []
    assert await opened(rig, [Point(0, 4000, 1)]) == []


async def test_what_is_not_held_is_refused_as_the_stock_miner_refuses_it() -> None:
    for make in (late, ReplayedOpening):
        with pytest.raises(RequestRefused) as refusal:
            await opened(Rig(make), [Point(0, 0, 1)], "request-none")
        assert refusal.value.status == 404


@pytest.mark.parametrize("make", [late, ReplayedOpening, lambda parts: RefuseUnknown(parts, [])])
async def test_nonsense_is_refused_as_the_stock_miner_refuses_it(make: Any) -> None:
    with pytest.raises(RequestRefused) as refusal:
        await Rig(make).service.answers.answer(b"{")
    assert refusal.value.status == 400


async def test_a_replay_is_answered_honestly_by_who_lies_only_in_openings() -> None:
    body = canonical_json(ReplayRequest(token_ids=(1, 2), points=(ReplayPoint(position=1, layer=1),)))
    for make in (late, ReplayedOpening):
        answer = ReplayAnswer.model_validate_json(await Rig(make).service.answers.answer(body))
        assert len(answer.vectors) == 1


async def test_openings_are_another_requests_under_the_names_that_were_asked_for() -> None:
    rig = Rig(ReplayedOpening)
    await rig.ask(request_id="request-0001", messages=LONG)
    await rig.ask(request_id="request-0002")
    points = points_of(rig, "request-0002")
    openings = await opened(rig, points, "request-0002")
    assert [one.point for one in openings] == points
    prompt = prompt_ids({"messages": HELLO}) + list(rig.vllm.output)
    assert [one.token_id for one in openings] == [prompt[point.position] for point in points]
    other = rig.commitments.get("request-0001")
    assert other is not None
    assert all(one.sketch in other.sketches for one in openings)
    assert not any(leads_to_root(rig, one, "request-0002") for one in openings)


async def test_the_only_request_is_opened_honestly() -> None:
    rig = Rig(ReplayedOpening)
    await rig.ask()
    openings = await opened(rig, points_of(rig))
    assert openings
    assert all(leads_to_root(rig, one) for one in openings)


START = prompt_ids({"messages": HELLO})[:6]


def refusing(parts: MinerParts) -> RefuseUnknown:
    return RefuseUnknown(parts, START)


async def test_points_in_the_templates_start_are_opened_and_all_others_are_refused() -> None:
    rig = Rig(refusing)
    for number in range(40):
        await rig.ask(request_id=f"request-{number:04}")
    known = 0
    for number in range(40):
        name = f"request-{number:04}"
        for point in points_of(rig, name):
            if point.position < len(START):
                (opening,) = await opened(rig, [point], name)
                assert leads_to_root(rig, opening, name)
                known += 1
            else:
                with pytest.raises(RequestRefused) as refusal:
                    await opened(rig, [point], name)
                assert refusal.value.status == 404
    assert known > LAYERS


async def test_one_unknown_point_refuses_the_whole_challenge() -> None:
    rig = Rig(refusing)
    for number in range(40):
        name = f"request-{number:04}"
        await rig.ask(request_id=name)
        if points_of(rig, name)[0].position < len(START):
            break
    with pytest.raises(RequestRefused):
        await opened(rig, [points_of(rig, name)[0], points_of(rig, name)[-1]], name)


@pytest.mark.parametrize(
    ("token_ids", "position", "answered"),
    [(START, 5, True), ([*START, 1, 2], 5, True), ([*START, 1, 2], 6, False), ([9, *START], 0, False)],
)
async def test_replays_are_answered_where_they_are_the_templates(
    token_ids: list[int], position: int, answered: bool
) -> None:
    point = ReplayPoint(position=position, layer=1)
    body = canonical_json(ReplayRequest(token_ids=tuple(token_ids), points=(point,)))
    rig = Rig(refusing)
    if answered:
        assert await rig.service.answers.answer(body)
    else:
        with pytest.raises(RequestRefused):
            await rig.service.answers.answer(body)


def test_the_templates_start_is_what_two_chats_share() -> None:
    class Tokenizer:
        def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> list[int]:
            return prompt_ids({"messages": messages})

    assert template_start(Tokenizer()) == prompt_ids({"messages": [{"role": "user", "content": ""}]})[:6]
