from hypothesis import given
from hypothesis import strategies as st

from gateway.breaker import (
    FIRST_COOLDOWN_S,
    LONGEST_COOLDOWN_S,
    NOT_BEFORE_ITS_PROBE_ENDS,
    READY,
    Breaker,
    Pass,
)


def broken(failures: int = 1, now_s: float = 100.0) -> Breaker:
    """A breaker after so many failures, each of the probe after the last."""
    breaker = Breaker()
    for _ in range(failures):
        breaker.failed(breaker.enter(now_s), now_s)
        now_s = breaker.ready_at_s
    return breaker


def test_a_new_breaker_lets_any_number_of_requests_through() -> None:
    breaker = Breaker()
    passes = [breaker.enter(0.0) for _ in range(3)]
    assert (breaker.state(0.0), breaker.ready_at_s) == ("closed", READY)
    assert not any(one.probe for one in passes)


def test_a_failure_opens_it_and_time_opens_it_half() -> None:
    breaker = broken()
    assert breaker.state(100.0) == "open"
    assert breaker.state(100.0 + FIRST_COOLDOWN_S) == "half_open"
    assert breaker.ready_at_s == 100.0 + FIRST_COOLDOWN_S


def test_half_open_lets_one_probe_through_at_a_time() -> None:
    breaker = broken()
    now_s = breaker.ready_at_s
    probe = breaker.enter(now_s)
    assert probe.probe
    assert breaker.ready_at_s == NOT_BEFORE_ITS_PROBE_ENDS
    assert not breaker.enter(now_s).probe


def test_a_probe_that_succeeds_closes_it_and_forgets_the_failures() -> None:
    breaker = broken(failures=3)
    breaker.succeeded(breaker.enter(breaker.ready_at_s))
    assert (breaker.state(0.0), breaker.failures_in_a_row) == ("closed", 0)


def test_a_probe_that_tells_nothing_is_followed_by_another() -> None:
    breaker = broken()
    now_s = breaker.ready_at_s
    breaker.told_nothing(breaker.enter(now_s))
    assert breaker.state(now_s) == "half_open"
    assert breaker.enter(now_s).probe


def test_a_failed_miner_rests_ever_longer_but_never_long() -> None:
    breaker, now_s, rests = Breaker(), 100.0, list[float]()
    for _ in range(40):
        breaker.failed(breaker.enter(now_s), now_s)
        rests.append(breaker.ready_at_s - now_s)
        now_s = breaker.ready_at_s
    assert rests[:3] == [FIRST_COOLDOWN_S, 2 * FIRST_COOLDOWN_S, 4 * FIRST_COOLDOWN_S]
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_COOLDOWN_S


def test_requests_that_break_off_together_are_one_failure() -> None:
    breaker = Breaker()
    passes = [breaker.enter(0.0) for _ in range(10)]
    news = [breaker.failed(one, 1.0) for one in passes]
    assert news == [True] + [False] * 9
    assert (breaker.failures_in_a_row, breaker.ready_at_s) == (1, 1.0 + FIRST_COOLDOWN_S)


def test_a_success_from_before_the_failure_does_not_call_off_the_rest() -> None:
    breaker = Breaker()
    early, late = breaker.enter(0.0), breaker.enter(0.0)
    breaker.failed(late, 1.0)
    breaker.succeeded(early)
    assert breaker.state(1.0) == "open"


def test_a_stragglers_end_does_not_let_a_second_probe_through() -> None:
    breaker = broken()
    first = breaker.enter(breaker.ready_at_s)
    breaker.failed(first, breaker.ready_at_s if breaker.ready_at_s < 1e9 else 102.0)
    second = breaker.enter(breaker.ready_at_s)
    breaker.told_nothing(first)
    assert second.probe
    assert breaker.ready_at_s == NOT_BEFORE_ITS_PROBE_ENDS


def test_a_failed_probe_is_no_news() -> None:
    breaker = broken()
    assert not breaker.failed(breaker.enter(breaker.ready_at_s), 102.0)


def test_an_overloaded_miner_rests_as_long_as_it_asks_within_bounds_and_no_longer_the_next_time() -> None:
    for asked_s, rests_s in ((0.0, FIRST_COOLDOWN_S), (7.0, 7.0), (1e9, LONGEST_COOLDOWN_S)):
        breaker = Breaker()
        for now_s in (0.0, 100.0, 200.0):
            breaker.overloaded(breaker.enter(now_s), now_s, asked_s)
            assert breaker.ready_at_s == now_s + rests_s
        assert breaker.failures_in_a_row == 0


def test_the_state_is_told_in_words() -> None:
    assert broken().status(101.0) == {"state": "open", "failures_in_a_row": 1, "rests_for_s": 1.0}
    assert Breaker().status(0.0)["rests_for_s"] is None


EVENTS = st.lists(st.sampled_from(["enter", "succeed", "fail", "overload", "nothing", "wait"]), max_size=60)


@given(EVENTS)
def test_never_are_two_probes_under_way_and_the_rest_always_ends(events: list[str]) -> None:
    breaker, now_s, under_way = Breaker(), 0.0, list[Pass]()
    for event in events:
        if event == "enter":
            under_way.append(breaker.enter(now_s))
        elif event == "wait":
            now_s += 1.5
        elif under_way:
            one = under_way.pop(0)
            if event == "succeed":
                breaker.succeeded(one)
            elif event == "fail":
                breaker.failed(one, now_s)
            elif event == "overload":
                breaker.overloaded(one, now_s, 5.0)
            else:
                breaker.told_nothing(one)
        probes = [one for one in under_way if one.probe and one.opened == breaker._opened]
        assert len(probes) <= 1
        assert (breaker.ready_at_s == NOT_BEFORE_ITS_PROBE_ENDS) == bool(probes)
    for one in under_way:
        breaker.told_nothing(one)
    assert breaker.state(now_s + LONGEST_COOLDOWN_S) in ("closed", "half_open")
