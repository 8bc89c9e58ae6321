import math
import random
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.canonical import canonical_json
from tests.validator.auditor_examples import block_number, example_record, example_verdict
from validator.challenge_selection import selection_draw
from validator.evidence import PROVEN_LOG_E, STAKE, UNANSWERED_LOG_E, e_value
from validator.evidence_families import WEIGHTS
from validator.scoring_config import ScoringConfig
from validator.sequential_test import (
    NEWCOMER,
    STAKES,
    WHOLE,
    Standing,
    Step,
    advance,
    explanation,
    is_rejected,
    step,
    steps,
)
from validator.verdicts import Verdict, VerdictOutcome

CONFIG = ScoringConfig()
LIMIT = CONFIG.reject_log_evidence
HONEST_LOG_E = math.log(1 - STAKE + STAKE * e_value(0.5))


def audit(number: int, outcome: VerdictOutcome, log_e: float, block: int = 1) -> Verdict:
    return example_verdict(example_record(number), block_number(block), outcome, log_e)


def run(*log_es: float, standing: Standing = NEWCOMER) -> tuple[Step, ...]:
    """Audits one after the other, whatever their draws."""
    taken: list[Step] = []
    for number, log_e in enumerate(log_es):
        verdict = audit(number, "fail" if log_e > 3 else "pass", log_e)
        taken.append(step(taken[-1].after if taken else standing, verdict, CONFIG))
    return tuple(taken)


def honest_log_e(chance: random.Random) -> float:
    """An audit of an honest miner: p-values are uniform, so the e-value is 1 on average."""
    return math.log(1 - STAKE + STAKE * e_value(1.0 - chance.random()))


def test_the_limit_is_a_million_times_the_sum_of_weights() -> None:
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert math.log(1e6 * 2) < LIMIT < math.log(1e6 * 2) + 1e-6


def test_honest_audits_leave_no_evidence() -> None:
    last = run(*[HONEST_LOG_E] * 50)[-1]
    assert last.after == Standing(log_evidence=0.0, support=0, audits=50, passes_in_a_row=50)
    assert not last.rejected


def test_one_audit_never_rejects_whatever_it_found() -> None:
    (only,) = run(1e9)
    assert only.counted == LIMIT * CONFIG.audit_share
    assert only.after.log_evidence == pytest.approx(LIMIT * CONFIG.audit_share, abs=1e-5)
    assert not only.rejected


def test_two_proven_faults_reject() -> None:
    first, second = run(PROVEN_LOG_E, PROVEN_LOG_E)
    assert (first.rejected, second.rejected) == (False, True)
    assert second.after.support == 2


def test_one_proven_fault_among_honest_audits_is_forgotten() -> None:
    taken = run(PROVEN_LOG_E, *[HONEST_LOG_E] * 150)
    assert not any(one.rejected for one in taken)
    assert taken[-1].after.log_evidence == taken[-1].after.support == 0


def test_two_proven_faults_reject_though_half_a_dozen_audits_pass_between_them() -> None:
    taken = run(PROVEN_LOG_E, *[math.log(1 - STAKE)] * 6, PROVEN_LOG_E)
    assert [one.rejected for one in taken] == [False] * 7 + [True]


def test_a_cheat_in_one_answer_of_ten_is_not_cleared_by_the_others() -> None:
    taken = run(*[6.0, *[HONEST_LOG_E] * 9] * 6)
    assert taken[-1].after.log_evidence > taken[9].after.log_evidence
    assert any(one.rejected for one in taken)


def test_unanswered_challenges_reject_once_there_are_several() -> None:
    taken = [one.rejected for one in run(*[UNANSWERED_LOG_E] * 4)]
    assert (taken[1], taken[3]) == (False, True)


def test_a_slight_cheat_is_rejected_though_every_audit_passes() -> None:
    taken = run(*[0.5] * 40)
    assert all(one.verdict.outcome == "pass" for one in taken)
    assert next(n for n, one in enumerate(taken, start=1) if one.rejected) == math.ceil(LIMIT / 0.5)


def test_a_cheat_after_a_long_honest_time_finds_no_credit() -> None:
    earned = run(*[HONEST_LOG_E] * 1000)[-1].after
    assert run(PROVEN_LOG_E, PROVEN_LOG_E, standing=earned)[-1].rejected


def test_evidence_is_capped_and_a_reformed_miner_is_taken_back() -> None:
    worst = run(*[PROVEN_LOG_E] * 100)[-1].after
    assert worst.log_evidence == pytest.approx(CONFIG.evidence_cap * LIMIT, abs=1e-5)
    back = run(*[HONEST_LOG_E] * 300, standing=worst)
    honest_audits = next(n for n, one in enumerate(back, start=1) if not one.rejected)
    assert 5 < honest_audits < 40
    assert back[-1].after.log_evidence == back[-1].after.support == 0


def test_an_inconclusive_audit_changes_nothing() -> None:
    standing = Standing(log_evidence=3.0, support=1, audits=4, passes_in_a_row=0)
    taken = step(standing, audit(1, "inconclusive", 5.0), CONFIG)
    assert (taken.after, taken.counted) == (standing, 0.0)
    assert "decided nothing" in taken.words


def test_a_failed_audit_ends_the_row_of_passes() -> None:
    assert run(-0.4, -0.4, 5.0, -0.4)[-1].after.passes_in_a_row == 1


def test_each_step_says_in_words_what_it_did() -> None:
    first, second, third = run(-0.4, PROVEN_LOG_E, PROVEN_LOG_E)
    assert first.words.startswith("passed; it counts -0.40; the evidence goes from 0.00 to 0.00")
    assert "failed: the sketches are too far off; it counts +10.88, the most that one audit" in second.words
    assert "from 0.00 to 10.88, supported by 1 audits; the test does not reject" in second.words
    assert "from 10.88 to 18.14, supported by 2 audits; the test rejects the miner" in third.words


def test_audits_count_in_the_order_of_their_draws_whatever_order_they_come_in() -> None:
    audits = [audit(number, "pass", -0.1 * number, block=1 + number % 3) for number in range(9)]
    expected = sorted(audits, key=lambda one: selection_draw(one.challenge_seed))
    for order in (audits, audits[::-1]):
        taken = steps(NEWCOMER, order, CONFIG)
        assert [one.verdict for one in taken] == expected
        assert all(one.after == other.before for one, other in pairwise(taken))


AUDITS = st.lists(
    st.tuples(st.sampled_from(["pass", "fail", "inconclusive"]), st.floats(-50, 1000)), max_size=30
)


@given(AUDITS, st.randoms(use_true_random=False))
def test_order_of_arrival_changes_no_bit(audits: list[Any], chance: random.Random) -> None:
    verdicts = [audit(n, outcome, log_e, block=1 + n % 3) for n, (outcome, log_e) in enumerate(audits)]
    straight = steps(NEWCOMER, verdicts, CONFIG)
    chance.shuffle(verdicts)
    assert steps(NEWCOMER, verdicts, CONFIG) == straight


@given(AUDITS)
def test_whatever_comes_evidence_stays_in_its_bounds_and_two_audits_support_a_rejection(
    audits: list[Any],
) -> None:
    for one in steps(NEWCOMER, [audit(n, *outcome) for n, outcome in enumerate(audits)], CONFIG):
        assert 0 <= one.after.log_evidence <= CONFIG.evidence_cap * LIMIT + 1e-5
        assert not one.rejected or one.after.support >= 2
        assert one.rejected == is_rejected(one.after, CONFIG)
        assert Standing.model_validate_json(canonical_json(one.after)) == one.after


def test_honest_miners_are_rejected_more_seldom_than_stated() -> None:
    """Measured where it can be: at limits of 100 and 1000 instead of a million."""
    for limit in (100.0, 1000.0):
        config = ScoringConfig(reject_log_evidence=math.log(limit))
        chance, audits = random.Random(97), 30_000
        standing, alarms = NEWCOMER, 0
        for number in range(audits):
            taken = step(standing, audit(number % 1000, "pass", honest_log_e(chance)), config)
            alarms += taken.rejected
            standing = NEWCOMER if taken.rejected else taken.after
        assert alarms <= audits / limit


def test_evidence_that_is_no_e_value_does_reject_the_honest() -> None:
    """The control of the test above: half a unit too much in every audit is noticed."""
    config = ScoringConfig(reject_log_evidence=math.log(1000.0))
    chance, standing = random.Random(97), NEWCOMER
    taken = []
    for number in range(2000):
        taken.append(step(standing, audit(number, "pass", honest_log_e(chance) + 0.5), config))
        standing = taken[-1].after
    assert sum(one.rejected for one in taken) > 2


FAMILY, OTHER = "at the request's temperature -0.1", "with another seed"


def tell(number: int, ratios: dict[str, float], log_e: float = -0.3) -> Verdict:
    """An audit that passed, whose families have these ratios."""
    return audit(number, "pass", log_e).model_copy(update={"ratios": ratios})


def audits_until_rejected(ratios: list[dict[str, float]], log_e: float = -0.3) -> int | None:
    standing = NEWCOMER
    for number, one in enumerate(ratios, start=1):
        standing = advance(standing, tell(number, one, log_e), CONFIG)
        if is_rejected(standing, CONFIG):
            return number
    return None


def test_what_one_family_explains_adds_up_from_audit_to_audit() -> None:
    """Each audit alone is taken for an honest one; its family's weight is paid once, its stake hardly."""
    ratio = 4.0
    limit = LIMIT - math.log(WEIGHTS[FAMILY] / len(STAKES))
    needed = math.ceil(limit / math.log(1 - STAKES[-1] + STAKES[-1] * ratio))
    assert audits_until_rejected([{FAMILY: ratio}] * 100) in (needed, needed - 1)


def test_what_changes_its_explanation_from_audit_to_audit_does_not() -> None:
    changing = [{FAMILY: 1.8, OTHER: 0.2}, {FAMILY: 0.2, OTHER: 1.8}] * 100
    assert audits_until_rejected(changing) is None
    assert audits_until_rejected([{FAMILY: 1.8, OTHER: 0.2}] * 100) is not None


def test_audits_that_cannot_tell_a_family_leave_it_as_it_is() -> None:
    silent = [one for _ in range(60) for one in ({FAMILY: 4.0}, {}, {OTHER: 0.1})]
    told = audits_until_rejected([{FAMILY: 4.0}] * 60)
    assert told is not None
    assert audits_until_rejected(silent) == 3 * told - 2


def test_a_cheat_in_one_answer_of_ten_is_seen_by_its_family_too() -> None:
    seldom = [{FAMILY: 400.0}, *[{FAMILY: 0.3}] * 9] * 12
    found = audits_until_rejected(seldom)
    assert found is not None
    assert found <= 70


def test_one_audit_never_rejects_whatever_its_families_say() -> None:
    everything = dict.fromkeys(WEIGHTS, 1e9)
    before = advance(NEWCOMER, tell(1, dict.fromkeys(WEIGHTS, 1.15), 0.0), CONFIG)
    for standing in (NEWCOMER, before):
        assert standing.log_evidence < 0.2
        first = advance(standing, tell(2, everything, 1e9), CONFIG)
        assert not is_rejected(first, CONFIG)
        assert is_rejected(advance(first, tell(3, everything, 1e9), CONFIG), CONFIG)


def test_the_words_and_the_standing_name_what_explains_the_evidence_best() -> None:
    standing = NEWCOMER
    for number in range(12):
        taken = step(standing, tell(number, {FAMILY: 4.0, OTHER: 1.2}), CONFIG)
        standing = taken.after
    assert explanation(standing) == f"tokens drawn {FAMILY}"
    assert f"best explained by tokens drawn {FAMILY}" in taken.words
    wrong = advance(NEWCOMER, tell(1, {"typical": 1e5}), CONFIG)
    assert explanation(wrong) == "hidden states that are all slightly wrong"
    assert explanation(run(PROVEN_LOG_E)[-1].after) is None
    assert explanation(NEWCOMER) is None


def test_an_honest_audit_takes_from_every_bettor_at_most_its_stake() -> None:
    before = advance(NEWCOMER, tell(1, {FAMILY: 100.0}), CONFIG).wealth[FAMILY]
    held = Standing.model_validate(NEWCOMER.model_dump() | {"wealth": {FAMILY: before}})
    after = advance(held, tell(2, {FAMILY: 0.0}), CONFIG).wealth[FAMILY]
    expected = [max(1.0, one * (1 - stake)) for one, stake in zip(before, STAKES, strict=True)]
    assert after == pytest.approx(expected, rel=1e-8)


def test_families_of_a_rejected_miner_are_scaled_down_with_the_evidence() -> None:
    worst = NEWCOMER
    for number in range(200):
        worst = advance(worst, tell(number, {FAMILY: 20.0, OTHER: 20.0}), CONFIG)
    assert worst.log_evidence == pytest.approx(CONFIG.evidence_cap * LIMIT, abs=1e-5)
    back, audits = worst, 0
    while is_rejected(back, CONFIG):
        back, audits = advance(back, tell(audits, {FAMILY: 0.3, OTHER: 0.3}), CONFIG), audits + 1
    assert 3 < audits < 40


def test_a_limit_that_nothing_reaches_keeps_all_wealth_finite() -> None:
    config, standing = ScoringConfig(reject_log_evidence=1e9), NEWCOMER
    for number in range(20):
        standing = advance(standing, tell(number, dict.fromkeys(WEIGHTS, 1e9), 1e9), config)
        assert not is_rejected(standing, config)
    assert max(max(held) for held in standing.wealth.values()) < math.inf


def test_an_unknown_family_or_bettor_is_refused() -> None:
    strange: list[dict[str, tuple[float, ...]]] = [
        {"no family": (2.0,) * len(STAKES)},
        {FAMILY: (2.0,)},
        {WHOLE: (2.0, 2.0)},
        {WHOLE: (0.5,)},
    ]
    for wealth in strange:
        with pytest.raises(ValidationError):
            Standing(log_evidence=0.0, support=0, audits=0, passes_in_a_row=0, wealth=wealth)


RATIOS = st.dictionaries(st.sampled_from([*WEIGHTS]), st.floats(0, 1e9), max_size=12)


@given(st.lists(st.tuples(RATIOS, st.floats(-1, 30)), max_size=12))
def test_who_reads_the_published_standing_goes_on_with_the_same_bits(audits: list[Any]) -> None:
    """JSON sorts the families; sums must not depend on it."""
    kept = read = NEWCOMER
    for number, (ratios, log_e) in enumerate(audits):
        verdict = tell(number, ratios, log_e)
        kept = advance(kept, verdict, CONFIG)
        published = Verdict.model_validate_json(canonical_json(verdict))
        read = advance(Standing.model_validate_json(canonical_json(read)), published, CONFIG)
        assert canonical_json(read) == canonical_json(kept)
        assert kept.log_evidence <= CONFIG.evidence_cap * LIMIT + 1e-5


def test_a_published_standing_is_small() -> None:
    worst = advance(NEWCOMER, tell(1, dict.fromkeys(WEIGHTS, 123.456), 9.0), CONFIG)
    assert len(canonical_json(worst)) < 3000
    passing = [dict.fromkeys(WEIGHTS, 0.7)] * 5
    honest = NEWCOMER
    for number, ratios in enumerate(passing):
        honest = advance(honest, tell(number, ratios), CONFIG)
    assert honest.wealth == {}


def honest_ratios(chance: random.Random) -> dict[str, float]:
    """All families at once, each with a mean of 1; half of them are large in the same audits."""
    together = 1.0 - chance.random()
    uniform = {name: together if place % 2 else 1.0 - chance.random() for place, name in enumerate(WEIGHTS)}
    return {name: e_value(p_value) for name, p_value in uniform.items() if chance.random() < 0.7}


@pytest.mark.parametrize("limit", [100.0, 1000.0])
def test_honest_miners_with_all_families_are_rejected_more_seldom_than_stated(limit: float) -> None:
    """Until a rejection it takes limit / 2 audits on average, so there are 2 × audits / limit of them."""
    config = ScoringConfig(reject_log_evidence=math.log(limit), audit_share=0.999)
    chance, audits = random.Random(97), 6000
    standing, alarms = NEWCOMER, 0
    for number in range(audits):
        verdict = tell(number % 100, honest_ratios(chance), honest_log_e(chance))
        standing = advance(standing, verdict, config)
        if is_rejected(standing, config):
            standing, alarms = NEWCOMER, alarms + 1
    assert alarms <= 2 * audits / limit


def test_ratios_that_are_no_e_values_do_reject_the_honest() -> None:
    """The control of the test above: ratios of twice the size are noticed."""
    config = ScoringConfig(reject_log_evidence=math.log(1000.0))
    chance, standing, rejected = random.Random(97), NEWCOMER, 0
    for number in range(300):
        ratios = {name: 2 * ratio for name, ratio in honest_ratios(chance).items()}
        standing = advance(standing, tell(number % 100, ratios), config)
        rejected += is_rejected(standing, config)
    assert rejected > 2
