"""What a token bucket gives, whoever asks when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.token_bucket import TokenBucket

Asks = list[tuple[float, int]]
ASKS = st.lists(st.tuples(st.floats(0, 90), st.integers(1, 50)), max_size=60)
"""(seconds since the ask before, amount)."""


@given(per_minute=st.integers(1, 500), asks=ASKS)
def test_no_stretch_of_time_brings_more_than_the_bucket_and_its_refill(per_minute: int, asks: Asks) -> None:
    bucket, now_s = TokenBucket(per_minute, 0.0), 0.0
    taken: list[tuple[float, float]] = []
    for gap_s, amount in asks:
        now_s += gap_s
        if bucket.take(amount, now_s):
            taken.append((now_s, min(amount, per_minute)))
        for start in range(len(taken)):
            stretch_s = taken[-1][0] - taken[start][0]
            total = sum(one for _, one in taken[start:])
            assert total <= per_minute * (1 + stretch_s / 60) + 1e-3


@given(per_minute=st.integers(1, 500), asks=ASKS)
def test_who_waits_as_long_as_told_is_served(per_minute: int, asks: Asks) -> None:
    bucket, now_s = TokenBucket(per_minute, 0.0), 0.0
    for gap_s, amount in asks:
        now_s += gap_s
        if not bucket.take(amount, now_s):
            now_s += bucket.wait_s(amount, now_s)
            assert bucket.take(amount, now_s)


@given(per_minute=st.integers(2, 500), asks=ASKS)
def test_who_waits_less_is_not(per_minute: int, asks: Asks) -> None:
    bucket, now_s = TokenBucket(per_minute, 0.0), 0.0
    for gap_s, amount in asks:
        now_s += gap_s
        if not bucket.take(amount, now_s):
            wait_s = bucket.wait_s(amount, now_s)
            assert wait_s > 0
            assert not bucket.take(amount, now_s + wait_s * 0.9) or wait_s < 1e-3
            return


def test_a_bucket_is_full_at_first_and_refilled_within_a_minute() -> None:
    bucket = TokenBucket(6, 100.0)
    assert [bucket.take(1, 100.0) for _ in range(7)] == [True] * 6 + [False]
    assert bucket.wait_s(1, 100.0) == 10.0
    assert not bucket.take(1, 109.0)
    assert bucket.take(1, 110.0)
    assert bucket.level(170.0) == bucket.level(1000.0) == 6.0


def test_more_than_the_bucket_holds_takes_all_that_it_holds() -> None:
    bucket = TokenBucket(10, 0.0)
    assert bucket.take(1000, 0.0)
    assert bucket.level(0.0) == 0.0
    assert bucket.wait_s(1000, 0.0) == 60.0


def test_a_charge_goes_into_debt_that_has_to_be_waited_off() -> None:
    bucket = TokenBucket(60, 0.0)
    bucket.charge(90, 0.0)
    assert bucket.level(0.0) == -30.0
    assert not bucket.take(1, 30.0)
    assert bucket.take(1, 31.0)


def test_what_is_given_back_never_makes_more_than_a_full_bucket() -> None:
    bucket = TokenBucket(60, 0.0)
    bucket.charge(-500, 0.0)
    assert bucket.level(0.0) == 60.0


@pytest.mark.parametrize("now_s", [-5.0, 0.0])
def test_a_clock_that_stands_or_is_asked_late_brings_nothing(now_s: float) -> None:
    bucket = TokenBucket(6, 0.0)
    assert bucket.take(6, 0.0)
    assert not bucket.take(1, now_s)


def test_a_bucket_may_be_of_another_span_than_a_minute() -> None:
    bucket = TokenBucket(10, 0.0, span_s=1.0)
    assert all(bucket.take(1, 0.0) for _ in range(10))
    assert not bucket.take(1, 0.0)
    assert bucket.wait_s(1, 0.0) == pytest.approx(0.1)
    assert bucket.take(1, 0.1)
    assert not bucket.take(1, 0.1)
