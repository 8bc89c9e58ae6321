import random
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from validator.audit_rate import audit_rate
from validator.challenge_schedule import AuditPlan, required
from validator.request_state import DrawnRequest
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing
from validator.verdicts import VerdictOutcome

CONFIG = ScoringConfig(min_audits=2, max_audits=8, enough_fails=3)
PROVEN = Standing(log_evidence=0.0, support=0, audits=10**9, passes_in_a_row=10**9)
"""A standing at which the rate is at its floor of 0.1, as good as."""
TRUSTED = AuditPlan({"A": PROVEN, "B": PROVEN}, complete=True)


def request(
    number: int, draw: float, outcome: VerdictOutcome | None = None, log_e: float = 0.0, miner: str = "A"
) -> DrawnRequest:
    return DrawnRequest((f"request-{number:03d}", miner), draw, outcome, log_e)


def numbers(requests: Sequence[DrawnRequest], plan: AuditPlan = TRUSTED) -> list[int]:
    return [int(one.key[0][-3:]) for one in required(requests, plan, CONFIG)]


def test_the_smallest_draws_fill_the_minimum() -> None:
    drawn = [request(1, 0.9), request(2, 0.3), request(3, 0.5), request(4, 0.4)]
    assert numbers(drawn) == [2, 4]


def test_nothing_is_filled_up_before_all_is_drawn() -> None:
    drawn = [request(1, 0.05), request(2, 0.3), request(3, 0.5)]
    assert numbers(drawn, AuditPlan(TRUSTED.standings, complete=False)) == [1]


def test_all_below_the_rate_are_required() -> None:
    drawn = [request(number, number / 100) for number in range(20)]
    assert numbers(drawn) == list(range(8))
    assert numbers(drawn[:5] + drawn[11:]) == list(range(5))


def test_an_inconclusive_audit_is_made_up_for() -> None:
    drawn = [request(1, 0.1, "inconclusive"), request(2, 0.2), request(3, 0.5), request(4, 0.6)]
    assert numbers(drawn) == [1, 2, 3]


def test_every_miner_gets_its_own_minimum_and_none_waits_for_the_many_of_another() -> None:
    drawn = [request(number, number / 100) for number in range(1, 8)]
    drawn += [request(8, 0.9, miner="B"), request(9, 0.8, miner="B")]
    assert numbers(drawn) == [1, 9, 2, 8, 3, 4, 5, 6, 7]


def test_a_miner_that_fails_waits_for_the_others() -> None:
    drawn = [
        request(1, 0.01, "fail"),
        request(2, 0.02),
        request(3, 0.5, miner="B"),
        request(4, 0.6, miner="B"),
    ]
    assert numbers(drawn) == [3, 4, 1, 2]


def test_fewer_requests_than_the_minimum_are_all_required() -> None:
    assert numbers([request(1, 0.9)]) == [1]
    assert numbers([]) == []


def test_a_failed_audit_requires_all_of_the_epoch_up_to_the_most() -> None:
    drawn = [request(1, 0.05, "fail"), *(request(number, number / 10) for number in range(2, 10))]
    assert numbers(drawn) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_after_enough_failures_no_more_is_required() -> None:
    failing = [request(number, number / 10, "fail") for number in (1, 2, 3)]
    assert numbers([*failing, *(request(number, number / 10) for number in range(4, 10))]) == [1, 2, 3]
    assert len(numbers([*failing[:2], *(request(number, number / 10) for number in range(3, 10))])) == 8


def test_a_doubtful_audit_requires_somewhat_more() -> None:
    drawn = [request(1, 0.05, "pass", log_e=4.0), *(request(number, number / 20) for number in range(2, 20))]
    rate = audit_rate(PROVEN, [("pass", 4.0)], CONFIG)
    assert 0.3 < rate < 0.4
    assert numbers(drawn) == [one for one in range(1, 20) if one == 1 or one / 20 < rate]


def test_a_failure_that_the_rule_did_not_ask_for_changes_nothing() -> None:
    drawn = [request(1, 0.2, "pass"), request(2, 0.3, "pass"), request(3, 0.9, "fail", log_e=13.0)]
    assert numbers(drawn) == [1, 2]


def test_a_newcomer_and_a_suspect_are_audited_whole() -> None:
    drawn = [request(number, number / 8) for number in range(1, 8)]
    assert numbers(drawn, AuditPlan({}, complete=False)) == list(range(1, 8))
    suspect = Standing(log_evidence=CONFIG.reject_log_evidence, support=2, audits=9, passes_in_a_row=9)
    assert numbers(drawn, AuditPlan({"A": suspect}, complete=False)) == list(range(1, 8))


def test_with_unknown_standings_only_what_every_standing_asks_for_is_required() -> None:
    drawn = [request(number, number / 20) for number in range(1, 9)]
    unknown = numbers(drawn, AuditPlan(None, complete=False))
    assert unknown == [1]
    for plan in (TRUSTED, AuditPlan({}, complete=True)):
        assert set(unknown) <= set(numbers(drawn, plan))


ENDED: st.SearchStrategy[Any] = st.sampled_from(
    [("pass", -0.6), ("pass", -0.4), ("pass", 0.8), ("inconclusive", 0.0), ("fail", 9.0)]
)
DRAWS = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), ENDED), max_size=20)


@settings(max_examples=150, deadline=None)
@given(DRAWS, st.integers(0, 40), st.randoms(use_true_random=False))
def test_whatever_the_order_of_work_the_same_audits_are_made(
    answers: list[Any], passes: int, chance: random.Random
) -> None:
    standing = Standing(log_evidence=0.0, support=0, audits=passes, passes_in_a_row=passes)
    plan = AuditPlan({"A": standing}, complete=True)
    made: dict[int, Any] = {}

    def known() -> list[DrawnRequest]:
        return [
            request(number, draw, *made[number]) if number in made else request(number, draw)
            for number, (draw, _) in enumerate(answers)
        ]

    while lacking := [n for n in numbers(known(), plan) if n not in made]:
        chosen = chance.choice(lacking)
        made[chosen] = answers[chosen][1]
    everything = [request(n, draw, *ended) for n, (draw, ended) in enumerate(answers)]
    chance.shuffle(everything)
    kept = set(numbers(known(), plan))
    assert kept <= set(made)
    assert kept == set(numbers(everything, plan)), "verdicts beyond the rule change nothing"
    published = [one for one in known() if int(one.key[0][-3:]) in kept or one.outcome is None]
    bare = [request(n, answers[n][0]) for n in set(made) - kept]
    assert kept == set(numbers([*published, *bare], plan)), "a follower finds the same without the others"
    smallest = sorted(range(len(answers)), key=lambda n: (answers[n][0], n))
    assert kept == set(smallest[: len(kept)]), "what is audited is a run from the smallest draw on"
