import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.evidence import FAIL_P_VALUE, STAKE, e_value, log_e_value
from validator.scoring_config import ScoringConfig
from validator.verdicts import Evidence, Statistic


def evidence(*p_values: float) -> list[Evidence]:
    names: tuple[Statistic, ...] = ("typical", "mean", "replay", "tokens")
    return [Evidence(statistic=name, score=1.0, p_value=p) for name, p in zip(names, p_values, strict=False)]


def token_evidence(score: float) -> Evidence:
    return Evidence(statistic="tokens", score=score, p_value=0.5)


def staked(e: float) -> float:
    return math.log(1 - STAKE + STAKE * e)


def test_the_mean_e_value_of_uniform_p_values_is_at_most_one() -> None:
    """Integrated over logarithms of p, where the function is smooth: ∫ e(p) dp = ∫ e(exp −x) exp(−x) dx.

    What lies beyond x = 200 is at most 1/200.
    """
    steps = 200_000
    width = 200.0 / steps
    total = sum(
        e_value(math.exp(-(number + 0.5) * width)) * math.exp(-(number + 0.5) * width) * width
        for number in range(steps)
    )
    assert 0.99 < total <= 1.0


@given(st.floats(1e-300, 1.0), st.floats(1e-300, 1.0))
def test_a_rarer_statistic_is_more_evidence(left: float, right: float) -> None:
    low, high = sorted((left, right))
    assert e_value(low) >= e_value(high) * (1 - 1e-6)


@pytest.mark.parametrize(("p_value", "expected"), [(1.0, 0.5), (0.01, 4.4480), (1e-4, 117.8)])
def test_known_values(p_value: float, expected: float) -> None:
    """Worked out by hand from (1 − p + p ln p) / (p ln² p)."""
    assert e_value(p_value) == pytest.approx(expected, rel=1e-3)


def test_near_one_the_formula_has_its_limit() -> None:
    assert e_value(1 - 1e-5) == pytest.approx(0.5, abs=1e-3)
    assert e_value(1 - 2e-4) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("p_value", [0.0, -0.1, 1.1, math.nan])
def test_what_is_no_p_value_is_refused(p_value: float) -> None:
    with pytest.raises(ValueError, match="p-value"):
        e_value(p_value)


def test_statistics_of_hidden_states_are_averaged_so_that_repeating_one_gains_nothing() -> None:
    assert log_e_value(evidence(1e-6)) == pytest.approx(log_e_value(evidence(1e-6, 1e-6)))
    assert log_e_value(evidence(1e-6, 1.0)) == pytest.approx(staked((2 * e_value(1e-6) + 0.5) / 3))


def test_the_tokens_e_value_counts_half_whatever_its_p_value() -> None:
    both = [*evidence(0.5, 0.5), token_evidence(1000.0)]
    assert log_e_value(both) == pytest.approx(staked((e_value(0.5) + 1000.0) / 2))
    assert log_e_value([token_evidence(1000.0)]) == pytest.approx(staked(1000.0))


@given(st.floats(0, 1e12), st.floats(1e-30, 1.0))
def test_nothing_clears_a_miner_by_more_than_the_stake(score: float, p_value: float) -> None:
    assert log_e_value([*evidence(p_value), token_evidence(score)]) >= math.log(1 - STAKE)


def test_an_audit_without_statistics_says_nothing() -> None:
    assert log_e_value([]) == 0.0


def test_an_unremarkable_audit_speaks_for_the_miner_and_a_failed_one_against() -> None:
    assert log_e_value(evidence(0.6, 0.4, 0.7, 0.5)) < 0
    assert log_e_value(evidence(FAIL_P_VALUE, 0.5, 0.5, 0.5)) > 2.5


def test_as_many_failed_audits_as_are_made_in_an_epoch_reject_however_weak_they_are() -> None:
    one_of_three = [(FAIL_P_VALUE, 1.0, 1.0), (1.0, FAIL_P_VALUE, 1.0), (1.0, 1.0, FAIL_P_VALUE)]
    weakest = min(log_e_value([*evidence(*one), token_evidence(0.0)]) for one in one_of_three)
    assert weakest * ScoringConfig().enough_fails >= ScoringConfig().reject_log_evidence
