"""A machine whose hotkeys are all asked again as soon as they have answered."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from bench.incentives.population import LONG_ANSWER, SUBJECT, is_long, timing
from bench.incentives.pressed import FAILED_AFTER_S, REFUSED_AFTER_S, Handled, Pressed, unanswered_s
from bench.incentives.rounds import Call, calls
from bench.incentives.strategies import BREAK_OFF, HONEST, REFUSE, RESET, Conduct, Together
from bench.incentives.traffic import Arrival
from validator.scoring_config import ScoringConfig

CONFIG = ScoringConfig()
CALL = next(one for one in calls(0, CONFIG) if one.full)
ORDERS: list[Together] = ["share", "queue", "turns", "shortest", "choosy", "drop", "alternate"]


def handled(uids: int, together: Together = "share", conduct: Conduct = HONEST) -> list[Handled]:
    """One full round of a machine under so many uids."""
    start_s = CALL.at_s
    machine = Pressed(SUBJECT, together, start_s, start_s + CALL.lasts_s, 0)

    def ask(uid: int, number: int, again: int) -> tuple[Arrival, Conduct]:
        return CALL.request(uid, number, again), conduct

    return machine.serve([(uid, float("-inf")) for uid in range(uids)], ask)


def work_s(one: Handled) -> float:
    return timing(SUBJECT, one.arrival).duration_ms / 1000


def test_one_uid_is_served_without_a_pause() -> None:
    made = handled(1)
    assert made[0].started_s == CALL.at_s
    for one, then in pairwise(made):
        assert one.ended_s == then.started_s
        assert one.ended_s - one.started_s == pytest.approx(work_s(one))
    assert made[-1].started_s < CALL.at_s + CALL.lasts_s <= made[-1].ended_s


@pytest.mark.parametrize("together", ORDERS)
@pytest.mark.parametrize("uids", [2, 5])
def test_in_whatever_order_a_machine_does_no_more_than_its_work(together: Together, uids: int) -> None:
    made = [one for one in handled(uids, together) if one.conduct.outcome == "answered"]
    for horizon_s in (one.ended_s for one in made):
        done = sum(work_s(one) for one in made if one.ended_s <= horizon_s)
        assert done <= horizon_s - CALL.at_s + 1e-6


def test_nobody_is_asked_before_it_has_answered() -> None:
    for uid in range(3):
        own = sorted((one for one in handled(3) if one.uid == uid), key=lambda one: one.started_s)
        assert all(one.ended_s <= then.started_s + 1e-9 for one, then in pairwise(own))


def test_in_a_queue_the_first_is_served_alone() -> None:
    counts = Counter(one.uid for one in handled(4, "queue"))
    assert counts[0] == len(handled(1))
    assert counts[1] == counts[2] == counts[3] == 1


def test_who_drops_all_but_one_rests_longer_and_longer() -> None:
    dropped = [one for one in handled(2, "alternate") if one.uid == 1]
    assert {one.conduct.outcome for one in dropped} == {"failed"}
    gaps = [then.started_s - one.ended_s for one, then in pairwise(dropped)]
    assert gaps == pytest.approx([2.0 ** (place + 1) for place in range(len(gaps))])


def test_failures_take_a_second_and_cost_a_rest() -> None:
    made = handled(1, conduct=RESET)
    assert all(one.ended_s - one.started_s == pytest.approx(FAILED_AFTER_S) for one in made)
    assert len(made) < 5


def work_of_rounds(serve: Callable[[Arrival], Conduct], asked_again: bool = True) -> float:
    """What a machine that is slow at long prompts does in thirty full rounds, in seconds of a usual one's.

    Args:
        asked_again: whether what was not answered is asked again; other requests are in its place if not.
    """
    machine = replace(SUBJECT, long_prompt_speed=0.2)
    done_s = 0.0
    for call in [one for epoch in range(8) for one in calls(epoch, CONFIG) if one.full][:30]:
        made: list[Handled] = []
        pressed = Pressed(machine, "share", call.at_s, call.at_s + call.lasts_s, 0, made)

        def ask(
            uid: int, number: int, again: int, call: Call = call, made: list[Handled] = made
        ) -> tuple[Arrival, Conduct]:
            arrival = call.request(uid, number, again) if asked_again else call.request(uid, len(made))
            return arrival, serve(arrival)

        pressed.serve([(0, float("-inf"))], ask)
        done_s += sum(work_s(one) for one in made if one.conduct.outcome == "answered")
    return done_s


@pytest.mark.parametrize("conduct", [REFUSE, RESET, BREAK_OFF])
def test_what_a_machine_is_slow_at_is_not_worth_refusing(conduct: Conduct) -> None:
    honest = work_of_rounds(lambda _: HONEST)
    assert work_of_rounds(lambda one: conduct if is_long(one) else HONEST) < 0.8 * honest


def test_if_nothing_were_asked_again_refusing_what_a_machine_is_slow_at_would_pay() -> None:
    honest = work_of_rounds(lambda _: HONEST)
    assert work_of_rounds(lambda one: REFUSE if is_long(one) else HONEST, asked_again=False) > 1.3 * honest


def test_what_was_asked_in_vain_is_asked_again_with_faults_of_its_own() -> None:
    first, again = CALL.request(0, 0), CALL.request(0, 0, 1)
    assert again == CALL.request(0, 0, 1) != CALL.request(0, 0, 2)
    assert again.faults != first.faults
    assert replace(again, faults=first.faults, whim=first.whim, signature=first.signature) == first


def test_a_refusal_takes_no_time_and_a_broken_answer_that_of_what_it_wrote() -> None:
    arrival = CALL.request(0, 0)
    assert unanswered_s(SUBJECT, arrival, REFUSE) == REFUSED_AFTER_S
    assert unanswered_s(SUBJECT, arrival, RESET) == FAILED_AFTER_S
    written = timing(SUBJECT, replace(arrival, output_tokens=BREAK_OFF.written)).duration_ms / 1000
    assert unanswered_s(SUBJECT, arrival, BREAK_OFF) == written


def test_a_machine_that_slows_down_takes_longer_over_long_answers_alone() -> None:
    slowing = replace(SUBJECT, long_answer_speed=0.5)
    short, long = (
        replace(CALL.request(0, 0), output_tokens=count) for count in (LONG_ANSWER, 3 * LONG_ANSWER)
    )
    assert timing(slowing, short) == timing(SUBJECT, short)
    rest_ms = timing(SUBJECT, long).duration_ms - timing(SUBJECT, short).duration_ms
    assert timing(slowing, long).duration_ms == pytest.approx(timing(SUBJECT, long).duration_ms + rest_ms)


def test_requests_of_rounds_are_no_players_own() -> None:
    assert {CALL.request(uid, number).owner for uid in range(20) for number in range(5)} == {1.0}
    half = next(one for one in calls(0, CONFIG) if not one.full)
    assert (CALL.request(0, 0).pressed, half.request(0, 0).pressed) == (True, False)
    assert replace(CALL.request(3, 1), client="") == replace(CALL.request(3, 1), client="")
