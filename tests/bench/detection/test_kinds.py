import random
from collections.abc import Callable

from bench.detection.kinds import kinds
from localnet.subnet import SHIPPED_CALIBRATION
from shared.calibration import read_calibration
from shared.honest_noise import HonestNoise
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.verdicts import AuditedPoint, Evidence, TokenCheck, Verdict


def shipped_noise() -> HonestNoise:
    noise = read_calibration(SHIPPED_CALIBRATION).header.noise
    assert noise is not None
    return noise


NOISE = shipped_noise()


def audits(ratio: Callable[[random.Random], float], sketch_p: float, token_p: float) -> list[Verdict]:
    draw = random.Random(1)
    return [
        example_verdict(example_record(number), block_number(1)).model_copy(
            update={
                "points": tuple(
                    AuditedPoint(
                        choice=0, position=20 + n, layer=9, distance=ratio(draw) * NOISE.scale_at(9, 20 + n)
                    )
                    for n in range(32)
                ),
                "evidence": (
                    Evidence(statistic="typical", score=1.0, p_value=sketch_p),
                    Evidence(statistic="mean", score=1.0, p_value=0.5),
                    Evidence(statistic="tokens", score=1.0, p_value=token_p),
                ),
                "tokens": TokenCheck(checked=40, exact=30, missed=(10,)),
            }
        )
        for number in range(40)
    ]


HONEST = audits(lambda draw: draw.lognormvariate(0, 0.5), 0.5, 0.5)


def test_each_kind_of_evidence_is_judged_by_itself() -> None:
    found = kinds(audits(lambda draw: 600.0, 1e-9, 0.5), HONEST, NOISE)
    assert (found.two_points, found.sketches, found.tokens) == (1.0, 1.0, 0.0)
    found = kinds(audits(lambda draw: draw.lognormvariate(0, 0.5), 0.5, 1e-9), HONEST, NOISE)
    assert found.two_points is not None
    assert found.two_points < 0.02
    assert (found.sketches, found.tokens, found.checked, found.exact) == (0.0, 1.0, 40, 0.75)


def test_honest_audits_exceed_their_own_limit_as_rarely_as_stated() -> None:
    found = kinds(HONEST, HONEST, NOISE)
    assert found.two_points is not None
    assert found.two_points <= 0.001


def test_what_ended_before_the_comparison_shows_nothing() -> None:
    early = [example_verdict(example_record(1), block_number(1), "fail")]
    found = kinds(early, HONEST, NOISE)
    assert (found.two_points, found.sketches, found.tokens, found.exact) == (None, None, None, None)
