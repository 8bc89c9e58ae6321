from functools import lru_cache

import pytest

from shared.calibration import HonestNoise
from shared.commitments import Point
from shared.errors import ModelError
from shared.receipts import Receipt, sign_receipt
from tests.shared.keys import MINER
from tests.shared.receipt_examples import NUM_LAYERS, example_commitment, receipt_body
from validator.calibration_limits import (
    LIMIT_QUANTILE,
    MIN_REQUESTS,
    SAFETY_FACTOR,
    NoiseSample,
    fit_noise,
    held_out_replays,
)
from validator.receipt_verification import committed_points

SCALE = (1e-5, 2e-5, 4e-5)
REQUESTS = 40


def receipt(number: int) -> Receipt:
    body = receipt_body(example_commitment(request_id=f"request-{number:04d}"), MINER.ss58_address)
    return sign_receipt(body, MINER)


def sample(number: int, factor: float = 1.0) -> NoiseSample:
    """Distances that are exactly `factor` times the layer's scale."""
    stated = receipt(number)
    opened = {point: factor * SCALE[point.layer - 1] for point in committed_points(stated).points}
    return NoiseSample(stated, opened, {Point(0, 1, 3): factor * SCALE[2]})


@lru_cache(maxsize=1)
def even_samples() -> list[NoiseSample]:
    return [sample(number) for number in range(REQUESTS)]


def fitted(samples: list[NoiseSample]) -> HonestNoise:
    return fit_noise(samples, NUM_LAYERS)


def test_the_scale_is_the_mean_honest_distance_of_each_layer() -> None:
    assert fitted(even_samples()).layer_scale == pytest.approx(SCALE)


def test_limits_are_the_highest_quantile_times_the_safety_factor() -> None:
    noise = fitted(even_samples())
    assert noise.audit_limit == pytest.approx(SAFETY_FACTOR)
    assert noise.replay_limit == pytest.approx(SAFETY_FACTOR)
    assert LIMIT_QUANTILE < 1


def test_requests_are_split_in_halves_and_one_is_only_reported() -> None:
    noise = fitted(even_samples())
    assert (noise.fitted_requests, noise.held_out_requests) == (REQUESTS // 2, REQUESTS // 2)
    assert noise.held_out_highest == pytest.approx(1)
    assert noise.held_out_false_alarms == 0


def test_a_far_held_out_request_is_counted_as_a_false_alarm_and_moves_no_limit() -> None:
    """Raising one request far above the others changes either the limits or the report, not both."""
    plain = fitted(even_samples())
    moved, reported = 0, 0
    for number in range(REQUESTS):
        samples = [*even_samples()]
        samples[number] = sample(number, factor=50)
        noise = fitted(samples)
        in_report = noise.held_out_false_alarms > 0
        assert in_report == (noise.audit_limit == pytest.approx(plain.audit_limit))
        reported += in_report
        moved += not in_report
    assert (moved, reported) == (REQUESTS // 2, REQUESTS // 2)


def test_the_split_follows_the_request_ids_not_their_order() -> None:
    assert fitted(even_samples()) == fitted(even_samples()[::-1])


def test_position_zero_does_not_count() -> None:
    samples = [
        NoiseSample(
            one.receipt,
            {point: distance if point.position else 1.0 for point, distance in one.opened.items()},
            one.replayed,
        )
        for one in even_samples()
    ]
    assert fitted(samples).layer_scale == pytest.approx(SCALE)


def test_distances_of_zero_still_give_limits_above_zero() -> None:
    noise = fitted([sample(number, factor=1e-12) for number in range(REQUESTS)])
    assert min(noise.layer_scale) > 0
    assert noise.audit_limit > 0


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(ModelError, match="too few"):
        fitted(even_samples()[: 2 * MIN_REQUESTS - 1])


def test_replays_of_the_held_out_half_are_reported() -> None:
    noise = fitted(even_samples())
    assert held_out_replays(even_samples(), noise) == pytest.approx([1.0] * (REQUESTS // 2))
