"""How near a repeated audit must come, and what is not near."""

from typing import Any

import pytest

from tests.validator.auditor_examples import UNREMARKABLE, block_number, example_record, example_verdict
from validator.reaudits import REPEATABLE_DTYPE, dtype_of
from validator.verdict_support import IN_FLOAT32, support_fault
from validator.verdicts import AuditedPoint, Evidence, TokenCheck, Verdict

POINTS = tuple(
    AuditedPoint(choice=0, position=position, layer=2, distance=1e-4 * position) for position in (1, 2, 3)
)
TOKENS = TokenCheck(checked=40, exact=38, missed=(2,))


def verdict(**changes: Any) -> Verdict:
    passed = example_verdict(example_record(1), block_number(1))
    return passed.model_copy(update={"points": POINTS, "tokens": TOKENS} | changes)


def scored(typical: float, tokens: float = 1.0) -> tuple[Evidence, ...]:
    first, *others = UNREMARKABLE
    likely = Evidence(statistic="tokens", score=tokens, p_value=1.0)
    return (first.model_copy(update={"score": typical}), *others, likely)


def failed(check: str) -> Verdict:
    nothing: dict[str, Any] = {"evidence": (), "points": (), "tokens": None}
    return verdict(outcome="fail", check=check, reason="it is wrong", **nothing)


def test_the_same_verdict_is_supported() -> None:
    assert support_fault(verdict(), verdict()) == ""
    assert support_fault(failed("text"), failed("text")) == ""


def test_numbers_may_differ_as_two_computations_do_and_no_more() -> None:
    stated = verdict(evidence=scored(1.0))
    near, far = 1 + IN_FLOAT32.score / 2, 1 + IN_FLOAT32.score * 2
    assert support_fault(stated, verdict(evidence=scored(near))) == ""
    assert "states typical 1, the model finds" in support_fault(stated, verdict(evidence=scored(far)))


def test_tokens_are_compared_by_the_logarithm_of_their_evidence() -> None:
    stated = verdict(evidence=scored(1.0, 100.0))
    assert support_fault(stated, verdict(evidence=scored(1.0, 120.0))) == ""
    assert "states tokens 100" in support_fault(stated, verdict(evidence=scored(1.0, 1000.0)))


def test_every_distance_is_compared() -> None:
    first, second, third = POINTS
    moved = (first, second, third.model_copy(update={"distance": third.distance * 2}))
    assert "states the distance 0.0003 at choice 0, position 3" in support_fault(
        verdict(), verdict(points=moved)
    )
    assert "states 3 distances, the model finds 2" in support_fault(verdict(), verdict(points=POINTS[:2]))


def test_tokens_drawn_otherwise_are_counted() -> None:
    few, many = TokenCheck(checked=40, exact=37, missed=(3,)), TokenCheck(checked=40, exact=30, missed=(10,))
    assert support_fault(verdict(), verdict(tokens=few)) == ""
    assert "38 of 40 tokens drawn exactly, the model finds 30" in support_fault(
        verdict(), verdict(tokens=many)
    )
    assert "whether tokens were checked" in support_fault(verdict(), verdict(tokens=None))


@pytest.mark.parametrize(
    ("stated", "repeated"),
    [
        (failed("text"), failed("prompt")),
        (failed("text"), verdict()),
        (verdict(), failed("receipt")),
        (verdict(outcome="inconclusive", check="request", evidence=()), failed("text")),
    ],
)
def test_another_end_is_named(stated: Verdict, repeated: Verdict) -> None:
    assert support_fault(stated, repeated) != ""


def test_a_calibration_file_tells_what_the_networks_reference_computes_in() -> None:
    assert dtype_of("transformers 5, torch 2.13, float32 on cpu") == REPEATABLE_DTYPE
    assert dtype_of("transformers 5, torch 2.13, bfloat16 on cuda") != REPEATABLE_DTYPE
