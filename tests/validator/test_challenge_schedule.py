import random

from hypothesis import given
from hypothesis import strategies as st

from validator.challenge_schedule import fill_up
from validator.request_state import DrawnRequest
from validator.verdicts import VerdictOutcome


def request(
    number: int, draw: float, outcome: VerdictOutcome | None = None, miner: str = "A"
) -> DrawnRequest:
    return DrawnRequest((f"request-{number:03d}", miner), 1, draw, outcome)


def numbers(requests: list[DrawnRequest]) -> list[str]:
    return [one.key[0] for one in requests]


def test_the_smallest_draws_are_taken() -> None:
    drawn = [request(1, 0.9), request(2, 0.3), request(3, 0.5), request(4, 0.4)]
    assert numbers(fill_up(drawn, 2)) == ["request-002", "request-004"]


def test_audits_that_were_made_count() -> None:
    drawn = [request(1, 0.1, "pass"), request(2, 0.2, "fail"), request(3, 0.5)]
    assert fill_up(drawn, 2) == []
    assert numbers(fill_up(drawn, 3)) == ["request-003"]


def test_an_inconclusive_audit_is_made_up_for() -> None:
    drawn = [request(1, 0.1, "inconclusive"), request(2, 0.2), request(3, 0.5)]
    assert numbers(fill_up(drawn, 1)) == ["request-002"]


def test_every_miner_gets_its_own_minimum() -> None:
    drawn = [request(1, 0.1), request(2, 0.2), request(3, 0.9, miner="B"), request(4, 0.8, miner="B")]
    assert numbers(fill_up(drawn, 1)) == ["request-001", "request-004"]


def test_fewer_requests_than_the_minimum_are_all_taken() -> None:
    assert numbers(fill_up([request(1, 0.9)], 5)) == ["request-001"]
    assert fill_up([], 5) == []


@given(st.lists(st.floats(0, 1, exclude_max=True), max_size=40), st.integers(1, 10), st.randoms())
def test_before_any_verdict_it_is_the_published_rule_in_any_order(
    draws: list[float], minimum: int, chance: random.Random
) -> None:
    requests = [request(number, draw) for number, draw in enumerate(draws)]
    chance.shuffle(requests)
    smallest = sorted(requests, key=lambda one: (one.draw, one.key[0]))[:minimum]
    assert numbers(fill_up(requests, minimum)) == numbers(smallest)
