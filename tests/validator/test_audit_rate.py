from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.audit_rate import audit_rate
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, Standing

CONFIG = ScoringConfig()
LIMIT = CONFIG.reject_log_evidence


def after(passes: int, evidence: float = 0.0) -> Standing:
    return Standing(log_evidence=evidence, support=0, audits=passes, passes_in_a_row=passes)


def test_newcomers_are_audited_whole() -> None:
    assert audit_rate(NEWCOMER, (), CONFIG) == 1.0


def test_trust_grows_with_every_pass_towards_the_floor_and_never_below() -> None:
    rates = [audit_rate(after(passes), (), CONFIG) for passes in range(5000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[CONFIG.trust_audits] == pytest.approx(0.55)
    assert 0.10 < rates[-1] < 0.105


def test_no_pass_moves_the_rate_by_much() -> None:
    rates = [audit_rate(after(passes), (), CONFIG) for passes in range(200)]
    assert max(one - other for one, other in pairwise(rates)) < 0.04


def test_evidence_raises_the_rate_without_a_step_until_all_is_audited() -> None:
    rates = [audit_rate(after(10_000, LIMIT * tenth / 10), (), CONFIG) for tenth in range(21)]
    assert rates == sorted(rates)
    assert rates[5] == pytest.approx(0.55)
    assert rates[10:] == [1.0] * 11


def test_a_doubtful_audit_of_this_epoch_raises_the_rate_at_once() -> None:
    trusted = after(10_000)
    assert audit_rate(trusted, [("pass", -0.4), ("pass", LIMIT / 2)], CONFIG) == pytest.approx(0.55)
    assert audit_rate(trusted, [("pass", -0.4)] * 50, CONFIG) == audit_rate(trusted, (), CONFIG)


def test_a_failed_audit_brings_everything_under_audit() -> None:
    assert audit_rate(after(10_000), [("pass", -0.4), ("fail", 0.1)], CONFIG) == 1.0


def test_inconclusive_audits_change_nothing() -> None:
    assert audit_rate(after(100), [("inconclusive", 12.0)], CONFIG) == audit_rate(after(100), (), CONFIG)


ENDED: st.SearchStrategy[Any] = st.tuples(
    st.sampled_from(["pass", "fail", "inconclusive"]), st.floats(-100, 100)
)


@given(st.integers(0, 10**6), st.floats(0, 2 * LIMIT), st.lists(ENDED, max_size=9), ENDED)
def test_more_verdicts_never_lower_the_rate(
    passes: int, evidence: float, ended: list[Any], more: Any
) -> None:
    standing = after(passes, evidence)
    before, later = (audit_rate(standing, one, CONFIG) for one in (ended, [*ended, more]))
    assert CONFIG.audit_rate_floor <= before <= later <= 1.0
