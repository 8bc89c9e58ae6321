"""What the best single bet needs, and the row's own test above it."""

import math

import pytest

from bench.detection.at_best import SUM_OF_WEIGHTS, at_best
from bench.detection.power import run_lengths
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.evidence import PROVEN_LOG_E
from validator.evidence_families import WEIGHTS
from validator.scoring_config import ScoringConfig
from validator.sequential_test import STAKES
from validator.verdicts import Verdict

CONFIG = ScoringConfig()
FAMILY, OTHER = "at the request's temperature -0.1", "with another seed"
LIMIT = math.log(1e6)


def audit(number: int, **ratios: float) -> Verdict:
    told = {FAMILY: ratios["family"], OTHER: ratios["other"]}
    return example_verdict(example_record(number), block_number(1)).model_copy(update={"ratios": told})


def test_the_bound_is_the_limit_over_the_mean_logarithm_of_the_best_family() -> None:
    ratios = [(6.0, 0.5), (1.5, 4.0), (4.0, 1e-40)]
    row = [audit(number, family=one, other=other) for number, (one, other) in enumerate(ratios)]
    found = at_best(row, CONFIG)
    assert found is not None
    assert found.family == f"tokens drawn {FAMILY}"
    assert found.nats == pytest.approx(math.log(6.0 * 1.5 * 4.0) / 3)
    assert found.audits == pytest.approx(LIMIT / found.nats, rel=1e-6)


def test_the_sequential_test_stays_above_the_bound_by_what_its_choice_and_stakes_cost() -> None:
    found = at_best(row := [audit(1, family=3.0, other=0.2)], CONFIG)
    assert found is not None
    (taken,) = set(run_lengths(row, CONFIG, 0))
    assert taken is not None
    staked = math.log(1 - STAKES[-1] + STAKES[-1] * 3.0)
    weight = WEIGHTS[FAMILY] / len(STAKES) / SUM_OF_WEIGHTS
    assert found.audits <= taken <= math.ceil((LIMIT - math.log(weight)) / staked)


def test_a_row_that_no_family_explains_has_no_bound() -> None:
    assert at_best([audit(1, family=0.9, other=0.2)], CONFIG) is None
    assert at_best([example_verdict(example_record(1), block_number(1), "inconclusive")], CONFIG) is None
    assert at_best([], CONFIG) is None


def test_exact_checks_count_what_they_prove_and_one_audit_is_the_least() -> None:
    failed = example_verdict(example_record(1), block_number(1), "fail", PROVEN_LOG_E)
    found = at_best([failed], CONFIG)
    assert found is not None
    assert (found.family, found.audits) == ("exact checks", 1.0)


def test_of_a_cheat_that_shows_seldom_less_than_all_is_staked() -> None:
    row = [
        audit(1, family=100.0, other=0.2),
        *(audit(number, family=0.05, other=0.2) for number in range(2, 5)),
    ]
    found = at_best(row, CONFIG)
    assert found is not None
    assert 0 < found.stake < 1
    whole = sum(math.log(one) for one in (100.0, 0.05, 0.05, 0.05)) / 4
    assert whole < 0 < found.nats


def test_inconclusive_audits_are_audits_that_say_nothing() -> None:
    silent = example_verdict(example_record(9), block_number(1), "inconclusive")
    one, half = (at_best([audit(1, family=3.0, other=0.2), *more], CONFIG) for more in ([], [silent]))
    assert one is not None
    assert half is not None
    assert half.audits == pytest.approx(2 * one.audits)
