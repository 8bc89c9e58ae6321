import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.honest_noise import (
    MARGIN_EDGES,
    SMALLEST_P_VALUE,
    TAIL_LEVELS,
    HonestMargins,
    HonestTail,
    band_of,
)

TAIL = HonestTail(quantiles=(1.0, 1.3, 1.5, 1.8, 2.0), exponent=4.0)
ABOVE = (0.5, 0.4, 0.3, 0.2, 0.1, 0.03, 5e-3, 1e-3, 2e-4, 3e-5, 6e-6, 1e-6, 2e-7, 4e-8)


def test_a_measured_quantile_is_exceeded_by_its_own_share() -> None:
    assert [TAIL.p_value(quantile) for quantile in TAIL.quantiles] == pytest.approx(list(TAIL_LEVELS))


def test_no_error_at_all_is_what_every_honest_audit_exceeds() -> None:
    assert TAIL.p_value(0.0) == 1.0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_larger_score_is_never_likelier(left: float, right: float) -> None:
    low, high = sorted((left, right))
    assert TAIL.p_value(low) >= TAIL.p_value(high) >= SMALLEST_P_VALUE


@given(st.floats(0.01, 100))
def test_a_small_step_changes_little(score: float) -> None:
    assert TAIL.p_value(score * 1.0001) == pytest.approx(TAIL.p_value(score), rel=0.01)


def test_beyond_what_was_measured_the_tail_is_a_power_law() -> None:
    assert TAIL.p_value(4.0) == pytest.approx(0.02 / 2**4)
    assert TAIL.p_value(20.0) == pytest.approx(0.02 / 10**4)


@given(st.floats(1e-12, 0.02))
def test_the_score_at_a_p_value_has_that_p_value(p_value: float) -> None:
    assert TAIL.p_value(TAIL.score_at(p_value)) == pytest.approx(p_value, rel=1e-6)


def test_a_p_value_never_becomes_zero() -> None:
    assert TAIL.p_value(1e300) == pytest.approx(SMALLEST_P_VALUE)
    assert math.isfinite(math.log(TAIL.p_value(math.inf)))


def test_equal_quantiles_are_allowed_and_zero_ones_below_the_last() -> None:
    flat = HonestTail(quantiles=(0.0, 0.0, 1.0, 1.0, 1.0), exponent=1.0)
    assert flat.p_value(0.0) == 0.2
    assert flat.p_value(1.0) == 0.02


@pytest.mark.parametrize(
    "fields",
    [
        {"quantiles": (1.0, 0.9, 1.5, 1.8, 2.0), "exponent": 4.0},
        {"quantiles": (1.0, 1.3), "exponent": 4.0},
        {"quantiles": (0.0, 0.0, 0.0, 0.0, 0.0), "exponent": 4.0},
        {"quantiles": (1.0, 1.3, 1.5, 1.8, math.inf), "exponent": 4.0},
        {"quantiles": (1.0, 1.3, 1.5, 1.8, 2.0), "exponent": 0.0},
        {"quantiles": (1.0, 1.3, 1.5, 1.8, 2.0), "exponent": math.inf},
    ],
)
def test_a_malformed_tail_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        HonestTail.model_validate(fields)


@pytest.mark.parametrize(
    "above", [ABOVE[:-1], (*ABOVE[:-1], 2 * ABOVE[-2]), (1.0, *ABOVE[1:]), (*ABOVE[:-1], 0.0)]
)
def test_margin_classes_that_can_not_be_probabilities_are_refused(above: tuple[float, ...]) -> None:
    assert HonestMargins(scale=0.05, exponent=3.0, above=ABOVE, tokens=1000)
    with pytest.raises(ValidationError):
        HonestMargins(scale=0.05, exponent=3.0, above=above, tokens=1000)


def test_bands_begin_at_their_first_position() -> None:
    assert [band_of(position, (4, 16)) for position in (0, 3, 4, 15, 16, 900)] == [0, 0, 1, 1, 2, 2]


def test_edges_rise_from_zero() -> None:
    assert MARGIN_EDGES[0] == 0
    assert list(MARGIN_EDGES) == sorted(set(MARGIN_EDGES))
