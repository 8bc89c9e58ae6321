import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import pytest

from shared.commitments import Point
from shared.errors import ModelError
from shared.honest_noise import TAIL_LEVELS, HonestNoise
from shared.receipts import Receipt, sign_receipt
from tests.shared.keys import MINER
from tests.shared.receipt_examples import NUM_LAYERS, example_commitment, receipt_body
from validator.calibration_limits import (
    LARGEST_EXPONENT,
    LEAST_EXPONENT,
    MIN_REQUESTS,
    SMALLEST_SCORE,
    ConditionSamples,
    NoiseSample,
    envelope,
    fit_noise,
)
from validator.challenge_selection import DEFAULT_POINTS
from validator.evidence import FAIL_P_VALUE
from validator.receipt_verification import committed_points
from validator.token_reading import TokenReading

SCALE = (1e-5, 2e-5, 4e-5)
REQUESTS = 40
MARGINS = (0.0,) * 97 + (0.01, 0.02, 0.06)


def receipt(number: int) -> Receipt:
    body = receipt_body(example_commitment(request_id=f"request-{number:04d}"), MINER.ss58_address)
    return sign_receipt(body, MINER)


def sample(number: int, factor: float = 1.0, margins: tuple[float, ...] = MARGINS) -> NoiseSample:
    """Distances that are exactly `factor` times the layer's scale."""
    stated = receipt(number)
    opened = {point: factor * SCALE[point.layer - 1] for point in committed_points(stated).points}
    reading = TokenReading(margins, (0.5,) * len(margins), ())
    return NoiseSample(stated, opened, {Point(0, 1, 3): factor * SCALE[2]}, reading)


@lru_cache(maxsize=1)
def even_samples() -> list[NoiseSample]:
    return [sample(number) for number in range(REQUESTS)]


def condition(samples: Sequence[NoiseSample], name: str = "eager") -> ConditionSamples:
    return ConditionSamples(name, "an engine", samples)


def fitted(samples: Sequence[NoiseSample], *others: ConditionSamples) -> HonestNoise:
    return fit_noise([condition(samples), *others], NUM_LAYERS)


def pareto(exponent: float, count: int, seed: int = 1) -> list[float]:
    """Scores above 1 that exceed x with probability x^−exponent."""
    draw = random.Random(seed)
    return [(1 - draw.random()) ** (-1 / exponent) for _ in range(count)]


def test_the_scale_is_the_geometric_mean_distance_of_each_layer() -> None:
    for row, scale in zip(fitted(even_samples()).scale, SCALE, strict=True):
        assert row == pytest.approx((scale,) * 4)
    pairs = [sample(number, factor=4.0 if number % 2 else 1.0) for number in range(REQUESTS)]
    half, _ = condition(pairs).halves()
    share = sum(one.opened == sample_of(one, 4.0) for one in half) / len(half)
    assert fitted(pairs).scale[0][1] == pytest.approx(SCALE[0] * 4**share, rel=0.1)


def sample_of(one: NoiseSample, factor: float) -> dict[Point, float]:
    return {point: factor * SCALE[point.layer - 1] for point in one.opened}


def test_each_band_of_positions_has_its_own_scale() -> None:
    """Bands begin at 4, 16 and 64; a band without data takes the one before."""
    samples = [
        replace(
            one,
            opened={
                point: distance * (10 if point.position < 4 else 1) for point, distance in one.opened.items()
            },
        )
        for one in even_samples()
    ]
    row = fitted(samples).scale[0]
    assert row[0] == pytest.approx(10 * SCALE[0])
    assert row[1] == pytest.approx(SCALE[0])
    assert row[2:] == (row[2],) * 2


def test_position_zero_does_not_count() -> None:
    samples = [
        replace(
            one,
            opened={point: value if point.position else 1.0 for point, value in one.opened.items()},
        )
        for one in even_samples()
    ]
    assert fitted(samples).scale == fitted(even_samples()).scale


def test_honest_audits_score_one_and_the_distributions_hold_for_the_usual_number_of_points() -> None:
    noise = fitted(even_samples())
    assert noise.points == DEFAULT_POINTS
    for tail in (noise.typical, noise.mean, noise.replay):
        assert tail.quantiles == pytest.approx((1.0,) * len(TAIL_LEVELS))
        assert tail.p_value(0.5) > 0.1
    for tail in (noise.typical, noise.mean):
        assert tail.p_value(10) < FAIL_P_VALUE


def test_the_halves_share_no_request_and_follow_ids_not_order() -> None:
    one, other = condition(even_samples()).halves()
    ids = [{sample.receipt.request_id for sample in half} for half in (one, other)]
    assert not ids[0] & ids[1]
    assert len(ids[0]) == len(ids[1]) == REQUESTS // 2
    assert fitted(even_samples()) == fitted(even_samples()[::-1])


def test_a_far_request_widens_the_limits_or_is_reported_as_a_false_alarm_never_both() -> None:
    plain = fitted(even_samples())
    [report] = plain.conditions
    assert (report.held_out_requests, report.false_alarms) == (REQUESTS // 2, 0)
    moved = reported = 0
    for number in range(0, REQUESTS, 4):
        samples = [*even_samples()]
        samples[number] = sample(number, factor=50)
        noise = fitted(samples)
        alarmed = noise.conditions[0].false_alarms > 0
        assert alarmed == (noise.typical == plain.typical)
        assert alarmed == (noise.conditions[0].lowest_p_value < FAIL_P_VALUE)
        reported, moved = reported + alarmed, moved + (not alarmed)
    assert moved
    assert reported


def test_the_report_counts_what_was_held_out() -> None:
    noise = fitted(even_samples())
    [report] = noise.conditions
    assert (report.condition, report.engine) == ("eager", "an engine")
    assert report.held_out_audits == REQUESTS // 2 * (5 + 1 + 1)
    assert report.exact_tokens == pytest.approx(0.97)
    assert noise.fitted_requests == REQUESTS // 2


def test_every_condition_is_inside_the_limits() -> None:
    """An engine that lies twice as far sets the scale for all."""
    far = condition([sample(number, factor=2.0) for number in range(100, 100 + REQUESTS)], "compiled")
    noise = fitted(even_samples(), far)
    assert [one.condition for one in noise.conditions] == ["eager", "compiled"]
    assert [row[1] for row in noise.scale] == pytest.approx([2 * scale for scale in SCALE])
    assert noise.typical.quantiles == pytest.approx((1.0,) * len(TAIL_LEVELS))
    assert sum(one.false_alarms for one in noise.conditions) == 0


def test_a_condition_with_far_smaller_distances_does_not_change_the_scale() -> None:
    """A float32 engine's distances are a thousandth of a bfloat16 one's."""
    near = condition([sample(number, factor=0.001) for number in range(100, 100 + REQUESTS)], "float32")
    assert fitted(even_samples(), near).scale == fitted(even_samples()).scale


def test_the_worst_condition_decides_each_quantile_and_all_together_the_exponent() -> None:
    narrow, wide = pareto(5, 2000), [1.5 * score for score in pareto(2, 2000)]
    together, inner = envelope([narrow, wide], 6.0), envelope([narrow], 6.0)
    assert together.quantiles == envelope([wide], 6.0).quantiles
    assert together.exponent < 3
    assert inner.exponent > together.exponent
    assert max(inner.quantiles) < max(together.quantiles)


@pytest.mark.parametrize("exponent", [1.0, 2.0, 4.0])
def test_the_exponent_of_a_power_law_is_found_and_errs_towards_a_heavier_tail(exponent: float) -> None:
    found = [envelope([pareto(exponent, 4000, seed)], 100.0).exponent for seed in range(5)]
    assert all(0.75 * exponent < one < 1.1 * exponent for one in found)
    assert sum(found) / len(found) < exponent


def test_quantiles_are_exceeded_by_their_share() -> None:
    scores = [float(number) for number in range(1, 1001)]
    expected = [1000 * (1 - level) for level in TAIL_LEVELS]
    assert envelope([scores], 6.0).quantiles == pytest.approx(expected, rel=2e-3)


def test_a_sharp_end_is_not_believed_and_few_scores_give_a_heavy_tail() -> None:
    assert envelope([[1.0] * 500], LARGEST_EXPONENT).exponent == pytest.approx(LARGEST_EXPONENT)
    assert envelope([[1.0, 1.1, 1.2]], LARGEST_EXPONENT).exponent == LEAST_EXPONENT


def test_scores_of_few_requests_are_trusted_less() -> None:
    scores = pareto(4, 1000)
    assert envelope([scores], 100.0, 5).exponent < envelope([scores], 100.0).exponent


def test_distances_of_zero_still_give_limits_above_zero() -> None:
    noise = fitted([sample(number, factor=1e-12) for number in range(REQUESTS)])
    assert min(min(row) for row in noise.scale) > 0
    assert noise.typical.quantiles[0] >= SMALLEST_SCORE


def test_without_a_checked_token_there_is_no_calibration() -> None:
    with pytest.raises(ModelError, match="no output token"):
        fitted([sample(number, margins=()) for number in range(REQUESTS)])


@pytest.mark.parametrize("count", [0, 2 * MIN_REQUESTS - 1])
def test_too_few_requests_are_refused(count: int) -> None:
    with pytest.raises(ModelError, match="too few"):
        fitted(even_samples()[:count])
    few = condition(even_samples()[:count], "compiled")
    with pytest.raises(ModelError, match="too few"):
        fitted(even_samples(), few)
