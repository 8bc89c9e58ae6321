import base64
import math
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    OpenAnswer,
    OpenedPoint,
    OpenPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayedVector,
    ReplayPoint,
    ReplayRequest,
)
from shared.commitments import Opening, Point
from shared.records import RequestRecord
from shared.sketches import SKETCH_BYTES, SKETCH_SIZE, sketch_to_bytes
from tests.validator.example_calibration import reference_at, tiny_calibration, tiny_noise
from tests.validator.example_miner import ExampleMiner, receipt_of, tokens_of
from tests.validator.example_model import chat_body
from validator.challenge_selection import draw_points
from validator.evidence import FAIL_P_VALUE, PROVEN_LOG_E, SMALLEST_SCORED, log_e_value, weigh
from validator.findings import Finding
from validator.verdicts import Evidence, Statistic
from validator.verification import (
    SketchScores,
    check_evidence,
    check_openings,
    check_replay_against_opening,
    read_replay,
    replay_score,
    score_ratios,
    score_sketches,
)

SEED = sha256_hex(b"a challenge")
HIDDEN = 256


@lru_cache(maxsize=1)
def served() -> tuple[ExampleMiner, RequestRecord]:
    miner = ExampleMiner(tiny_calibration())
    return miner, miner.answer(chat_body(3))


def drawn() -> list[Point]:
    return draw_points(SEED, receipt_of(served()[1]))


def answer() -> OpenAnswer:
    miner, record = served()
    asked = tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in drawn())
    return miner.open(OpenRequest(request_id=record.request_id, points=asked))


def openings_of(given: OpenAnswer) -> Finding | list[Opening]:
    record = served()[1]
    return check_openings(receipt_of(record), drawn(), given, tokens_of(record))


def honest_openings() -> list[Opening]:
    openings = openings_of(answer())
    assert isinstance(openings, list)
    return openings


def judged(openings: list[Opening], reference: dict[Point, Tensor] | None = None) -> Finding | None:
    """The finding that scoring the sketches and weighing their means comes to."""
    if reference is None:
        reference = reference_at(served()[1], drawn())
    scored = score_sketches(openings, reference, tiny_calibration(), tiny_noise())
    if isinstance(scored, Finding):
        return scored
    typical = weigh(tiny_noise(), "typical", scored.typical)
    return check_evidence([typical, weigh(tiny_noise(), "mean", scored.mean)])


def replay_finding(score: float) -> Finding | None:
    return check_evidence([weigh(tiny_noise(), "replay", score)])


def test_honest_openings_hold_in_the_order_asked() -> None:
    reversed_answer = answer().model_copy(update={"openings": answer().openings[::-1]})
    for given in (answer(), reversed_answer):
        openings = openings_of(given)
        assert isinstance(openings, list)
        assert [opening.point for opening in openings] == drawn()


def changed(number: int = 0, **fields: Any) -> OpenAnswer:
    """The honest answer with one opening altered."""
    openings = list(answer().openings)
    openings[number] = openings[number].model_copy(update=fields)
    return answer().model_copy(update={"openings": tuple(openings)})


def test_unopened_commitment_counts_as_a_failure() -> None:
    for missing in range(len(drawn())):
        kept = tuple(o for number, o in enumerate(answer().openings) if number != missing)
        finding = openings_of(answer().model_copy(update={"openings": kept}))
        assert isinstance(finding, Finding)
        assert (finding.outcome, finding.check) == ("fail", "opening")
        assert "not opened" in finding.reason


def test_a_point_that_was_not_asked_for_fails() -> None:
    first = answer().openings[0]
    finding = openings_of(changed(position=first.position + 1))
    assert isinstance(finding, Finding)
    assert "not asked for" in finding.reason


def test_a_point_that_is_opened_twice_fails() -> None:
    twice = (*answer().openings, answer().openings[0])
    assert isinstance(openings_of(answer().model_copy(update={"openings": twice})), Finding)


Forgery = Callable[[OpenedPoint], dict[str, Any]]


def random_sketch(_: OpenedPoint) -> dict[str, Any]:
    vector = torch.randn(SKETCH_SIZE, generator=torch.Generator().manual_seed(1))
    return {"sketch": base64.b64encode(sketch_to_bytes(vector)).decode()}


FORGERIES: dict[str, Forgery] = {
    "another token": lambda opened: {"token_id": opened.token_id + 1},
    "another sketch": random_sketch,
    "a zero sketch": lambda opened: {"sketch": base64.b64encode(bytes(SKETCH_BYTES)).decode()},
    "a neighbour's sketch": lambda opened: {"sketch": answer().openings[1].sketch},
    "a truncated path": lambda opened: {"path": opened.path[:-1]},
    "a lengthened path": lambda opened: {"path": (*opened.path, "0" * 64)},
    "no path": lambda opened: {"path": ()},
    "a neighbour's path": lambda opened: {"path": answer().openings[1].path},
    "a shuffled path": lambda opened: {"path": opened.path[::-1]},
    "a short sketch": lambda opened: {"sketch": base64.b64encode(bytes(SKETCH_BYTES - 2)).decode()},
    "an empty sketch": lambda opened: {"sketch": ""},
    "a sketch that is not base64": lambda opened: {"sketch": "é" * 100},
    "a sketch that is too long": lambda opened: {"sketch": base64.b64encode(bytes(150)).decode()},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_opening_fails(forgery: str) -> None:
    first = answer().openings[0]
    finding = openings_of(changed(**FORGERIES[forgery](first)))
    assert isinstance(finding, Finding)
    assert (finding.outcome, finding.check, finding.log_e) == ("fail", "opening", PROVEN_LOG_E)


def test_openings_of_another_request_fail() -> None:
    """Replayed: the points exist there too, their paths lead to the other root."""
    miner, record = served()
    other = miner.answer(chat_body(3, request_id="request-other"))
    shared = [
        p for p in draw_points(SEED, receipt_of(record)) if p in set(draw_points(SEED, receipt_of(other)))
    ]
    asked = shared or [Point(0, receipt_of(record).choices[0].prompt_tokens - 1, 4)]
    points = tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in asked)
    replayed = miner.open(OpenRequest(request_id=other.request_id, points=points))
    finding = check_openings(receipt_of(record), asked, replayed, tokens_of(record))
    assert isinstance(finding, Finding)


def test_honest_sketches_hold_and_every_point_is_reported() -> None:
    scored = score_sketches(
        honest_openings(), reference_at(served()[1], drawn()), tiny_calibration(), tiny_noise()
    )
    assert isinstance(scored, SketchScores)
    assert judged(honest_openings()) is None
    assert [(p.choice, p.position, p.layer) for p in scored.points] == [
        (p.choice, p.position, p.layer) for p in drawn()
    ]
    ratios = [p.distance / tiny_noise().scale_at(p.layer, p.position) for p in scored.points]
    assert (scored.typical, scored.mean) == pytest.approx(score_ratios(ratios))


def test_the_two_means_of_ratios_are_the_geometric_and_the_arithmetic_one() -> None:
    assert score_ratios([1.0, 4.0]) == pytest.approx((2.0, 2.5))
    assert score_ratios([3.0] * 7) == pytest.approx((3.0, 3.0))


def test_sketches_that_agree_to_the_bit_hide_no_others() -> None:
    """Four of eight exact: the geometric mean falls, but not to nothing; the arithmetic one is half."""
    typical, mean = score_ratios([0.0] * 4 + [100.0] * 4)
    assert typical == pytest.approx(math.sqrt(SMALLEST_SCORED * 100))
    assert mean == pytest.approx(50, rel=1e-6)


def evidence(p_values: dict[Statistic, float]) -> list[Evidence]:
    return [Evidence(statistic=name, score=7.5, p_value=p) for name, p in p_values.items()]


def test_statistics_that_honest_miners_have_decide_nothing() -> None:
    assert (
        check_evidence(evidence({"typical": FAIL_P_VALUE, "mean": 0.3, "replay": 1.0, "tokens": 0.02}))
        is None
    )


@pytest.mark.parametrize(
    ("statistic", "check"),
    [("typical", "sketch"), ("mean", "sketch"), ("replay", "replay"), ("tokens", "tokens")],
)
def test_a_statistic_that_honest_miners_do_not_have_decides_and_says_what_to_do(
    statistic: Statistic, check: str
) -> None:
    usual: dict[Statistic, float] = {"typical": 0.5, "mean": 0.5, "replay": 0.5, "tokens": 0.5}
    found = evidence(usual | {statistic: 1e-9})
    finding = check_evidence(found)
    assert finding is not None
    assert (finding.outcome, finding.check) == ("fail", check)
    assert "7.5" in finding.reason
    assert "1e+09 honest audits" in finding.reason
    assert finding.reason.rsplit("; ", 1)[1]
    assert finding.log_e == pytest.approx(log_e_value(found))


def test_of_several_the_hidden_states_are_named_first() -> None:
    """A miner with other weights is told so, and not to mind its seed, however unlikely its tokens are."""
    finding = check_evidence(evidence({"typical": 1e-6, "mean": 1e-5, "replay": 1e-20, "tokens": 1e-30}))
    assert finding is not None
    assert finding.check == "sketch"
    assert "exact weights" in finding.reason


def resketched(forge: Callable[[int, Opening], bytes]) -> list[Opening]:
    return [
        Opening(opening.point, opening.token_id, forge(number, opening), opening.path)
        for number, opening in enumerate(honest_openings())
    ]


def test_random_sketches_fail() -> None:
    generator = torch.Generator().manual_seed(5)
    finding = judged(resketched(lambda *_: sketch_to_bytes(torch.randn(64, generator=generator))))
    assert finding is not None
    assert finding.check == "sketch"


def test_zero_sketches_fail() -> None:
    assert judged(resketched(lambda *_: bytes(SKETCH_BYTES))) is not None


def test_shuffled_sketches_fail() -> None:
    honest = honest_openings()
    assert judged(resketched(lambda number, _: honest[number - 1].sketch)) is not None


def test_negated_sketches_fail() -> None:
    def negated(_: int, opening: Opening) -> bytes:
        vector = torch.frombuffer(bytearray(opening.sketch), dtype=torch.bfloat16)
        return sketch_to_bytes(-vector)

    assert judged(resketched(negated)) is not None


@pytest.mark.parametrize(
    "shift",
    [
        lambda p: Point(p.choice, p.position - 1, p.layer),
        lambda p: Point(p.choice, p.position, p.layer % 4 + 1),
    ],
    ids=["of the neighbouring token", "of another layer"],
)
def test_sketches_fail(shift: Callable[[Point], Point]) -> None:
    record = served()[1]
    moved = reference_at(record, [shift(point) for point in drawn()])
    assert judged(honest_openings(), {point: moved[shift(point)] for point in drawn()}) is not None


@pytest.mark.parametrize("entry", [math.nan, math.inf, -math.inf, 1e30])
def test_a_sketch_with_an_impossible_entry_fails(entry: float) -> None:
    def spoiled(_: int, opening: Opening) -> bytes:
        return opening.sketch[:-2] + struct.pack("<f", entry)[2:]

    finding = judged(resketched(spoiled))
    assert finding is not None
    assert "malformed" in finding.reason


def replay_of(point: Point) -> ReplayAnswer:
    miner, record = served()
    token_ids = tuple(tokens_of(record)[point.choice][: point.position + 1])
    return miner.replay(
        ReplayRequest(token_ids=token_ids, points=(ReplayPoint(position=point.position, layer=point.layer),))
    )


def test_an_honest_replay_holds_and_agrees_with_its_opening() -> None:
    for opening in honest_openings():
        point = opening.point
        vector = read_replay(point, replay_of(point), HIDDEN)
        assert isinstance(vector, Tensor)
        reference = reference_at(served()[1], [point])[point]
        score = replay_score(vector, reference, point, tiny_calibration(), tiny_noise())
        assert replay_finding(score) is None
        assert check_replay_against_opening(vector, opening, tiny_calibration(), tiny_noise()) is None


VECTORS: dict[str, Tensor] = {
    "random": torch.randn(HIDDEN, generator=torch.Generator().manual_seed(2)),
    "zero": torch.zeros(HIDDEN),
    "huge": torch.full((HIDDEN,), 3e38),
    "constant": torch.ones(HIDDEN),
}


@pytest.mark.parametrize("kind", VECTORS)
def test_a_vector_that_is_not_the_models_fails(kind: str) -> None:
    opening = honest_openings()[0]
    reference = reference_at(served()[1], [opening.point])[opening.point]
    score = replay_score(VECTORS[kind], reference, opening.point, tiny_calibration(), tiny_noise())
    finding = replay_finding(score)
    assert finding is not None
    assert (finding.outcome, finding.check) == ("fail", "replay")
    apart = check_replay_against_opening(VECTORS[kind], opening, tiny_calibration(), tiny_noise())
    assert apart is not None
    assert apart.check == "replay"
    assert "committed while serving" in apart.reason


def test_a_true_vector_of_another_place_fails() -> None:
    here, *others = honest_openings()
    there = next(other for other in others if other.point != here.point)
    vector = reference_at(served()[1], [there.point])[there.point]
    reference = reference_at(served()[1], [here.point])[here.point]
    score = replay_score(vector, reference, here.point, tiny_calibration(), tiny_noise())
    assert replay_finding(score) is not None
    assert check_replay_against_opening(vector, here, tiny_calibration(), tiny_noise()) is not None


def vector_answer(*vectors: ReplayedVector) -> ReplayAnswer:
    return replay_of(drawn()[0]).model_copy(update={"vectors": vectors})


def vector_at(point: Point, data: bytes) -> ReplayedVector:
    return ReplayedVector(position=point.position, layer=point.layer, vector=base64.b64encode(data).decode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(HIDDEN * 2 - 2),
        bytes(HIDDEN * 2 + 2),
        bytes(HIDDEN * 2 - 1),
        b"\x80\x7f" * HIDDEN,
        b"\xff\xff" * HIDDEN,
    ],
)
def test_a_vector_of_the_wrong_size_or_with_nan_or_infinity_fails(data: bytes) -> None:
    finding = read_replay(drawn()[0], vector_answer(vector_at(drawn()[0], data)), HIDDEN)
    assert isinstance(finding, Finding)
    assert (finding.outcome, finding.check) == ("fail", "replay")


def test_a_replay_of_other_points_fails() -> None:
    asked, other = drawn()[0], drawn()[1]
    data = bytes(HIDDEN * 2)
    for vectors in (
        (),
        (vector_at(other, data),),
        (vector_at(asked, data), vector_at(asked, data)),
    ):
        assert isinstance(read_replay(asked, vector_answer(*vectors), HIDDEN), Finding)


def test_answers_name_the_challenge_that_they_are_to() -> None:
    asked = tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in drawn())
    request = OpenRequest(request_id=served()[1].request_id, points=asked)
    assert answer().challenge_digest == sha256_hex(canonical_json(request))
