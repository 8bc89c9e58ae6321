"""The law that honest misses are fitted with: found again, wide where data are few, never below the data."""

import random
from itertools import pairwise

import pytest

from shared.errors import ModelError
from shared.honest_noise import MARGIN_EDGES
from validator.calibration_margins import (
    EXPONENTS,
    LEAST_PROBABILITY,
    fit_margins,
    miss_probability,
)
from validator.token_reading import TokenReading


def readings(
    tokens: int, scale: float, exponent: float, seed: int = 1, requests: int = 10
) -> list[TokenReading]:
    """Tokens whose leads are spread evenly up to 1 logit, missed as the law says."""
    draw, found = random.Random(seed), []
    for _ in range(requests):
        margins, leads = [], []
        for _ in range(tokens // requests):
            lead = draw.random()
            missed = draw.random() < miss_probability(lead, scale, exponent)
            margins.append(lead if missed else 0.0)
            leads.append(lead)
        found.append(TokenReading(tuple(margins), tuple(leads), ()))
    return found


@pytest.mark.parametrize(("scale", "exponent"), [(0.05, 3.0), (0.2, 5.0)])
def test_the_law_is_found_again(scale: float, exponent: float) -> None:
    found = fit_margins([readings(40_000, scale, exponent)])
    for edge, above in zip(MARGIN_EDGES[1:6], found.above[1:6], strict=True):
        assert miss_probability(edge, scale, exponent) <= above * 1.1
        assert above < 1.6 * miss_probability(edge, scale, exponent) + 0.002


def test_with_fewer_tokens_the_bound_is_wider() -> None:
    few, many = fit_margins([readings(400, 0.05, 4.0)]), fit_margins([readings(40_000, 0.05, 4.0)])
    assert (few.tokens, many.tokens) == (400, 40_000)
    assert few.above[7] > 2 * many.above[7]


def test_a_half_that_was_not_fitted_misses_no_more_than_is_allowed_for() -> None:
    found = fit_margins([readings(5000, 0.04, 3.0)])
    margins = [margin for one in readings(20_000, 0.04, 3.0, seed=2) for margin in one.margins]
    leads = [lead for one in readings(20_000, 0.04, 3.0, seed=2) for lead in one.leads]
    for edge, above in zip(MARGIN_EDGES[1:8], found.above[1:8], strict=True):
        near = [margin for margin, lead in zip(margins, leads, strict=True) if edge < lead <= 2 * edge]
        assert sum(margin > 0 for margin in near) <= 1.2 * above * len(near) + 3


def test_the_noisiest_condition_decides_and_an_exact_one_does_not_dilute_it() -> None:
    noisy, exact = readings(5000, 0.05, 3.0), readings(5000, 1e-4, 6.0)
    assert fit_margins([noisy, exact]) == fit_margins([noisy])
    assert fit_margins([exact, noisy]).above[4] > 10 * fit_margins([exact]).above[4]


def test_nothing_is_impossible_and_bounds_fall() -> None:
    found = fit_margins([readings(40_000, 1e-3, 6.0)])
    assert found.above[-1] == LEAST_PROBABILITY
    assert all(left >= right for left, right in pairwise(found.above))
    assert found.exponent in EXPONENTS


def test_a_miss_far_out_makes_the_tail_heavier() -> None:
    usual = readings(5000, 0.04, 6.0)
    outlier = TokenReading((1.0,), (1.0,), ())
    assert fit_margins([[*usual, outlier]]).above[8] > 3 * fit_margins([usual]).above[8]


def test_without_tokens_there_is_nothing_to_fit() -> None:
    with pytest.raises(ModelError, match="no output token"):
        fit_margins([[TokenReading((), (), ())]])
