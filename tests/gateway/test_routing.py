import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.breaker import READY
from gateway.pace import Pace, Typical
from gateway.routing import (
    ANYTHING,
    FLOOR_SHARE,
    LEAST_BOUND,
    LOAD_BOUND,
    REJECTED_SHARE,
    SAMPLE_HALF_LIFE_S,
    Asked,
    MinerLoad,
    can_be_next,
    choose,
    decayed,
    expected_s,
    load_bound,
)

TYPICALS = st.none() | st.builds(
    Typical, value_s=st.floats(1e-6, 1e4), weight=st.floats(0, 8), at_s=st.floats(0, 1e6)
)
PACES = st.builds(Pace, first=TYPICALS, token=TYPICALS)
LOADS = st.builds(
    MinerLoad,
    uid=st.integers(0, 255),
    in_flight=st.integers(0, 100),
    recent_requests=st.floats(0, 1e6),
    ready_at_s=st.just(READY) | st.just(float("inf")) | st.floats(0, 1e6),
    pace=PACES,
    success_rate=st.floats(0.01, 1),
    pass_rate=st.floats(0.01, 1),
    rejected=st.booleans(),
)
CANDIDATES = st.lists(LOADS, min_size=1, max_size=8, unique_by=lambda load: load.uid)
ASKED = st.builds(
    Asked,
    typical=PACES,
    output_tokens=st.floats(1, 214),
    order=st.lists(st.integers(0, 255), max_size=3).map(tuple),
    familiar_uid=st.none() | st.integers(0, 255),
    familiar_share=st.floats(0, 1),
)


def pace(first_s: float, token_s: float = 0.01) -> Pace:
    return Pace(Typical(first_s, 8.0, 0.0), Typical(token_s, 8.0, 0.0))


def counts(loads: list[MinerLoad], asked: Asked = ANYTHING, draws: int = 4000, seed: int = 1) -> Counter[int]:
    """How often each uid is chosen from the same candidates."""
    source = random.Random(seed)
    chosen = (choose(loads, 0.0, source, asked) for _ in range(draws))
    return Counter(load.uid for load in chosen if load is not None)


def test_nobody_is_chosen_from_nobody() -> None:
    assert choose([], 0.0, random.Random(1)) is None


@given(CANDIDATES, st.floats(0, 2e6), st.integers(), ASKED)
def test_somebody_is_always_chosen_and_a_resting_miner_only_when_all_rest(
    loads: list[MinerLoad], now_s: float, seed: int, asked: Asked
) -> None:
    chosen = choose(loads, now_s, random.Random(seed), asked)
    assert chosen in loads
    group = [load for load in loads if load.rejected == chosen.rejected]
    if any(load.ready_at_s <= now_s for load in group):
        assert chosen.ready_at_s <= now_s


@given(CANDIDATES, st.integers(), ASKED)
def test_the_same_randomness_chooses_the_same_miner(loads: list[MinerLoad], seed: int, asked: Asked) -> None:
    first, again = (choose(loads, 5.0, random.Random(seed), asked) for _ in range(2))
    assert first == again


@given(CANDIDATES, st.floats(0, 2e6), st.integers(), ASKED)
def test_whoever_is_chosen_could_be_next(
    loads: list[MinerLoad], now_s: float, seed: int, asked: Asked
) -> None:
    chosen = choose(loads, now_s, random.Random(seed), asked)
    assert chosen is not None
    assert can_be_next(chosen.uid, loads, now_s)


def test_of_two_equal_miners_the_less_busy_one_is_chosen() -> None:
    loads = [MinerLoad(1, in_flight=5, recent_requests=3), MinerLoad(2, in_flight=1, recent_requests=3)]
    assert counts(loads)[1] == 0


def test_of_two_idle_miners_the_faster_one_is_chosen() -> None:
    loads = [
        MinerLoad(1, recent_requests=9, pace=pace(0.2, 0.02)),
        MinerLoad(2, recent_requests=9, pace=pace(0.2, 0.01)),
    ]
    assert counts(loads)[1] == 0


def test_miners_that_differ_by_chance_alone_are_asked_equally() -> None:
    for faster, even in ((1.1, True), (1.3, False)):
        source, asked = random.Random(6), Counter[int]()
        for _ in range(2000):
            loads = [
                MinerLoad(uid, recent_requests=asked[uid], pace=pace(first_s, 0.0))
                for uid, first_s in enumerate((1.0, faster))
            ]
            chosen = choose(loads, 0.0, source)
            assert chosen is not None
            asked[chosen.uid] += 1
        assert (asked[1] > 900) == even, asked


def test_a_fast_miner_is_no_longer_chosen_once_it_is_busy_enough() -> None:
    slow = MinerLoad(1, recent_requests=9, pace=pace(0.2, 0.02))
    for in_flight, winner in ((1, 2), (8, 1)):
        fast = MinerLoad(2, in_flight=in_flight, recent_requests=9, pace=pace(0.2, 0.01))
        assert counts([slow, fast])[winner] == 4000


def test_short_answers_go_to_who_begins_soonest_and_long_ones_to_who_writes_fastest() -> None:
    starter = MinerLoad(1, recent_requests=9, pace=pace(0.1, 0.02))
    writer = MinerLoad(2, recent_requests=9, pace=pace(1.0, 0.01))
    assert counts([starter, writer], Asked(output_tokens=5))[1] == 4000
    assert counts([starter, writer], Asked(output_tokens=200))[2] == 4000


def test_what_is_not_known_of_a_miner_is_taken_to_be_typical() -> None:
    typical = pace(0.5, 0.01)
    new, better, worse = (
        MinerLoad(uid, recent_requests=9, pace=own)
        for uid, own in ((1, Pace()), (2, pace(0.4, 0.009)), (3, pace(0.6, 0.011)))
    )
    asked = Asked(typical=typical)
    assert expected_s(better, asked) < expected_s(new, asked) < expected_s(worse, asked)


def test_failures_and_failed_audits_make_a_miner_look_slower() -> None:
    well = MinerLoad(1)
    assert expected_s(MinerLoad(2, success_rate=0.5), ANYTHING) == 2 * expected_s(well, ANYTHING)
    assert expected_s(MinerLoad(3, pass_rate=0.5), ANYTHING) == 2 * expected_s(well, ANYTHING)


def test_the_worst_of_many_is_asked_only_while_it_is_below_the_floor() -> None:
    loads = [MinerLoad(uid, recent_requests=100, pace=pace(1.3**uid, 0.001)) for uid in range(8)]
    assert counts(loads)[7] == 0
    assert counts(loads)[0] > counts(loads)[5] > 0
    below = [*loads[:7], MinerLoad(7, recent_requests=FLOOR_SHARE * 80, pace=loads[7].pace)]
    assert 0.9 * FLOOR_SHARE < counts(below)[7] / 4000 < 1.1 * FLOOR_SHARE


def test_every_miner_gets_its_floor_however_slow_it_is() -> None:
    source, asked = random.Random(6), Counter[int]()
    for _ in range(6000):
        loads = [MinerLoad(uid, recent_requests=asked[uid], pace=pace(4.0**uid)) for uid in range(6)]
        chosen = choose(loads, 0.0, source)
        assert chosen is not None
        asked[chosen.uid] += 1
    assert min(asked.values()) > 0.95 * FLOOR_SHARE * 6000 / 6, asked
    assert asked[0] > 1500, "and the fastest still gets the most"


def test_a_newcomer_draws_no_more_than_the_floors_share_beyond_its_own() -> None:
    loads = [MinerLoad(uid, in_flight=3, recent_requests=1000.0) for uid in range(9)]
    loads.append(MinerLoad(9, in_flight=9, recent_requests=0.0))
    assert 0.9 * FLOOR_SHARE < counts(loads)[9] / 4000 < 1.1 * FLOOR_SHARE


def test_equal_miners_are_asked_equally() -> None:
    source, asked = random.Random(6), Counter[int]()
    for _ in range(4000):
        loads = [MinerLoad(uid, recent_requests=asked[uid]) for uid in range(4)]
        chosen = choose(loads, 0.0, source)
        assert chosen is not None
        asked[chosen.uid] += 1
    assert max(asked.values()) - min(asked.values()) < 0.02 * 4000, asked


def test_a_miner_that_has_rested_soon_gets_the_request_to_prove_itself_with() -> None:
    rested = MinerLoad(1, recent_requests=1e6, ready_at_s=-5.0, pace=pace(9.0))
    others = [MinerLoad(uid, recent_requests=1.0, pace=pace(0.1)) for uid in (2, 3)]
    assert 0.9 * FLOOR_SHARE < counts([rested, *others])[1] / 4000 < 1.1 * FLOOR_SHARE


def test_when_all_rest_the_one_that_is_ready_first_is_chosen() -> None:
    loads = [MinerLoad(1, ready_at_s=130.0), MinerLoad(2, ready_at_s=102.0), MinerLoad(3, ready_at_s=1e9)]
    chosen = choose(loads, 100.5, random.Random(1))
    assert chosen is not None
    assert chosen.uid == 2


def test_rejected_miners_share_a_hundredth_and_serve_when_there_is_nobody_else() -> None:
    rejected = [MinerLoad(uid, rejected=True, pace=pace(0.001)) for uid in (1, 2)]
    honest = [MinerLoad(uid, recent_requests=5, pace=pace(1.0)) for uid in (3, 4)]
    drawn = counts([*rejected, *honest], draws=20_000)
    assert 0.8 * REJECTED_SHARE < (drawn[1] + drawn[2]) / 20_000 < 1.2 * REJECTED_SHARE
    assert sum(counts(rejected).values()) == 4000


def test_a_rejected_miner_gets_nothing_because_the_others_rest() -> None:
    loads = [MinerLoad(1, rejected=True), MinerLoad(2, ready_at_s=50.0)]
    assert counts(loads)[1] < 2 * REJECTED_SHARE * 4000


def test_the_clients_order_comes_first_as_far_as_the_bound_allows() -> None:
    loads = [MinerLoad(uid, recent_requests=5) for uid in range(4)]
    assert counts(loads, Asked(order=(3, 1)))[3] == 4000
    assert counts(loads, Asked(order=(77, 1)))[1] == 4000
    busy = [*loads[:3], MinerLoad(3, in_flight=LEAST_BOUND, recent_requests=5)]
    assert counts(busy, Asked(order=(3, 1)))[1] == 4000
    resting = [*loads[:3], MinerLoad(3, ready_at_s=10.0)]
    assert counts(resting, Asked(order=(3, 1)))[3] == 0


def test_a_conversation_returns_to_the_miner_that_has_it_in_its_cache() -> None:
    loads = [MinerLoad(uid, recent_requests=5, pace=pace(0.5)) for uid in range(4)]
    drawn = counts(loads, Asked(familiar_uid=2, familiar_share=0.8))
    assert drawn[2] == 4000
    assert counts(loads, Asked())[2] < 2000


def test_a_slow_miner_does_not_keep_a_conversation_whose_cache_saves_little() -> None:
    loads = [MinerLoad(uid, recent_requests=5, pace=pace(0.5, 0.01)) for uid in range(3)]
    slow = MinerLoad(3, recent_requests=5, pace=pace(0.5, 0.02))
    assert counts([*loads, slow], Asked(familiar_uid=3, familiar_share=0.8))[3] == 0


def test_a_familiar_miner_at_its_bound_is_passed_over() -> None:
    quick = pace(0.001, 0.0001)
    for in_flight, chosen in ((LEAST_BOUND - 1, True), (LEAST_BOUND, False)):
        loads = [MinerLoad(uid, recent_requests=5, pace=pace(5.0)) for uid in range(20)]
        loads.append(MinerLoad(20, in_flight=in_flight, recent_requests=5, pace=quick))
        drawn = counts(loads, Asked(familiar_uid=20, familiar_share=0.9))[20]
        assert (drawn > 3000) == chosen


def test_the_bound_grows_with_the_load_of_all() -> None:
    assert load_bound(in_flight=0, miners=2) == LEAST_BOUND
    assert load_bound(in_flight=400, miners=10) == pytest.approx(LOAD_BOUND * 40, abs=1)
    assert load_bound(in_flight=0, miners=0) == LEAST_BOUND


def test_requests_count_half_after_the_half_life() -> None:
    assert decayed(8.0, SAMPLE_HALF_LIFE_S) == 4.0
    assert decayed(8.0, 0.0) == 8.0


def test_a_resting_miner_can_not_be_next_while_another_is_ready() -> None:
    loads = [MinerLoad(1, ready_at_s=12.0), MinerLoad(2)]
    assert not can_be_next(1, loads, 10.0)
    assert can_be_next(2, loads, 10.0)
    assert can_be_next(1, loads, 12.0)


def test_of_miners_that_all_rest_the_one_that_is_ready_first_can_be_next() -> None:
    loads = [MinerLoad(uid, ready_at_s=20.0 + uid) for uid in (1, 2)]
    assert can_be_next(1, loads, 12.0)
    assert not can_be_next(2, loads, 12.0)
    assert not can_be_next(3, loads, 12.0)
    assert not can_be_next(3, [], 12.0)


def test_a_rejected_miner_can_be_next_so_that_its_audits_look_like_anything_else() -> None:
    loads = [MinerLoad(1, rejected=True), MinerLoad(2)]
    assert can_be_next(1, loads, 0.0)
