"""Audits in the simulation are those of the calibration and the real evidence."""

import math
import random
from collections import Counter
from statistics import median

import pytest

from bench.incentives.audits import STAND_IN_NOISE, STATISTICS, Audits, read_noise, score_of
from bench.incentives.cheats import CHEATS, FP8, INT4, INT8, NOISE, UNANSWERED, UNOPENED, Trace
from bench.incentives.config import IncentivesConfig
from localnet.roles import ROLES
from shared.honest_noise import HonestTail
from validator.evidence import PROVEN_LOG_E, UNANSWERED_LOG_E

AUDITS = Audits(STAND_IN_NOISE)


def endings(trace: Trace, count: int) -> tuple[float, list[float]]:
    """Share of failed audits, and what each counts."""
    made = [AUDITS.ending(trace, random.Random(seed)) for seed in range(count)]
    return Counter(one.outcome for one in made)["fail"] / count, [one.log_e for one in made]


@pytest.mark.parametrize("p_value", [1.0, 0.9, 0.5, 0.3, 0.2, 0.07, 0.02, 1e-3, 1e-9, 1e-29])
@pytest.mark.parametrize(
    "tail",
    [STAND_IN_NOISE.typical, HonestTail(quantiles=(0.2, 0.25, 3.0, 9.0, 400.0), exponent=0.9)],
    ids=["light", "heavy"],
)
def test_a_score_has_the_p_value_it_was_drawn_for(tail: HonestTail, p_value: float) -> None:
    assert tail.p_value(score_of(tail, p_value)) == pytest.approx(p_value, rel=1e-6)


def test_honest_audits_have_e_values_of_one_on_average_and_hardly_ever_fail() -> None:
    failed, counted = endings(None, 4000)
    assert failed < 0.002
    assert sum(min(50.0, math.exp(one)) for one in counted) / len(counted) < 1
    assert median(counted) < -0.1


def test_cheats_count_in_the_order_of_how_far_off_they_are() -> None:
    medians = [median(endings(cheat, 300)[1]) for cheat in (NOISE, INT8, FP8, INT4)]
    assert medians == sorted(medians)
    assert medians[0] > median(endings(None, 300)[1])


def test_a_cheat_with_an_honest_looking_statistic_passes_most_audits_and_int4_none() -> None:
    assert endings(NOISE, 300)[0] < 0.1
    assert endings(INT4, 300)[0] > 0.95


def test_silence_and_closed_points_fail_with_their_own_weights() -> None:
    assert endings(UNANSWERED, 1) == (1.0, [UNANSWERED_LOG_E])
    assert endings(UNOPENED, 1) == (1.0, [PROVEN_LOG_E])


def test_the_same_seed_gives_the_same_audit() -> None:
    assert AUDITS.ending(INT8, random.Random(5)) == AUDITS.ending(INT8, random.Random(5))
    assert AUDITS.ending(INT8, random.Random(5)) != AUDITS.ending(INT8, random.Random(6))


def test_every_cheat_is_a_row_that_detection_measures() -> None:
    names = {one.row for one in (*CHEATS, UNANSWERED, UNOPENED)}
    assert names <= ROLES.keys()
    assert all(cheat.statistic in STATISTICS for cheat in CHEATS)


def test_the_shipped_calibration_can_be_read() -> None:
    noise = read_noise(IncentivesConfig().calibration)
    audits = Audits(noise or STAND_IN_NOISE)
    assert audits.ending(None, random.Random(1)).outcome == "pass"
