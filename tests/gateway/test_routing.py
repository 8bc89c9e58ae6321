import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from gateway.routing import (
    EXPLORATION_SHARE,
    FIRST_COOLDOWN_S,
    LONGEST_COOLDOWN_S,
    SAMPLE_HALF_LIFE_S,
    MinerLoad,
    can_be_next,
    choose,
    decayed,
)

LOADS = st.builds(
    MinerLoad,
    uid=st.integers(0, 255),
    in_flight=st.integers(0, 100),
    recent_requests=st.floats(0, 1e6),
    failures_in_a_row=st.integers(0, 10_000),
    last_failure_s=st.floats(0, 1e6),
)


def test_nobody_is_chosen_from_nobody() -> None:
    assert choose([], 0.0, random.Random(1)) is None


@given(st.lists(LOADS, min_size=1, max_size=8), st.floats(0, 2e6), st.integers())
def test_somebody_is_always_chosen_and_a_resting_miner_only_when_all_rest(
    loads: list[MinerLoad], now_s: float, seed: int
) -> None:
    chosen = choose(loads, now_s, random.Random(seed))
    assert chosen in loads
    if any(load.rests_until_s() <= now_s for load in loads):
        assert chosen.rests_until_s() <= now_s


@given(st.lists(LOADS, min_size=1, max_size=8), st.integers())
def test_the_same_randomness_chooses_the_same_miner(loads: list[MinerLoad], seed: int) -> None:
    assert choose(loads, 5.0, random.Random(seed)) == choose(loads, 5.0, random.Random(seed))


def test_of_two_miners_the_less_busy_one_is_chosen() -> None:
    loads = [MinerLoad(1, in_flight=5, recent_requests=3), MinerLoad(2, in_flight=1, recent_requests=9)]
    source = random.Random(3)
    counts = Counter(choose(loads, 0.0, source).uid for _ in range(2000))  # type: ignore[union-attr]
    assert 0.05 < counts[1] / 2000 < 0.15, "only exploration picks the busy one"


def test_the_busiest_of_many_is_chosen_by_exploration_alone() -> None:
    loads = [MinerLoad(uid, in_flight=uid, recent_requests=uid + 1.0) for uid in range(8)]
    source = random.Random(4)
    counts = Counter(choose(loads, 0.0, source).uid for _ in range(4000))  # type: ignore[union-attr]
    assert counts[7] == 0
    assert counts[0] > counts[6]


def test_a_newcomer_draws_no_more_than_the_share_of_exploration_beyond_its_own() -> None:
    loads = [MinerLoad(uid, in_flight=3, recent_requests=1000.0) for uid in range(9)]
    loads.append(MinerLoad(9, in_flight=9, recent_requests=0.0))
    source = random.Random(5)
    counts = Counter(choose(loads, 0.0, source).uid for _ in range(4000))  # type: ignore[union-attr]
    assert 0.5 * EXPLORATION_SHARE < counts[9] / 4000 < 1.5 * EXPLORATION_SHARE


def test_equally_busy_miners_are_sampled_equally() -> None:
    source, counts = random.Random(6), Counter[int]()
    for _ in range(4000):
        loads = [MinerLoad(uid, recent_requests=counts[uid]) for uid in range(4)]
        counts[choose(loads, 0.0, source).uid] += 1  # type: ignore[union-attr]
    assert max(counts.values()) - min(counts.values()) < 0.02 * 4000, counts


def test_even_a_miner_that_is_always_busiest_is_sampled() -> None:
    source, counts = random.Random(6), Counter[int]()
    for _ in range(4000):
        loads = [MinerLoad(uid, in_flight=uid, recent_requests=counts[uid]) for uid in range(4)]
        counts[choose(loads, 0.0, source).uid] += 1  # type: ignore[union-attr]
    assert counts[3] > 0.8 * EXPLORATION_SHARE * 4000, counts


def test_a_failed_miner_rests_ever_longer_but_never_long() -> None:
    rests = [
        MinerLoad(1, failures_in_a_row=n, last_failure_s=100.0).rests_until_s() - 100 for n in range(1, 50)
    ]
    assert rests[:3] == [FIRST_COOLDOWN_S, 2 * FIRST_COOLDOWN_S, 4 * FIRST_COOLDOWN_S]
    assert rests == sorted(rests)
    assert rests[-1] == LONGEST_COOLDOWN_S


def test_when_all_rest_the_one_that_is_ready_first_is_chosen() -> None:
    loads = [
        MinerLoad(1, failures_in_a_row=5, last_failure_s=100.0),
        MinerLoad(2, failures_in_a_row=1, last_failure_s=100.0),
    ]
    chosen = choose(loads, 100.5, random.Random(1))
    assert chosen is not None
    assert chosen.uid == 2


def test_requests_count_half_after_the_half_life() -> None:
    assert decayed(8.0, SAMPLE_HALF_LIFE_S) == 4.0
    assert decayed(8.0, 0.0) == 8.0


@given(
    st.lists(LOADS, min_size=1, max_size=8, unique_by=lambda load: load.uid), st.floats(0, 2e6), st.integers()
)
def test_whoever_is_chosen_could_be_next(loads: list[MinerLoad], now_s: float, seed: int) -> None:
    chosen = choose(loads, now_s, random.Random(seed))
    assert chosen is not None
    assert can_be_next(chosen.uid, loads, now_s)


def test_a_resting_miner_can_not_be_next_while_another_is_ready() -> None:
    loads = [MinerLoad(1, failures_in_a_row=1, last_failure_s=10.0), MinerLoad(2)]
    assert not can_be_next(1, loads, 10.0)
    assert can_be_next(2, loads, 10.0)
    assert can_be_next(1, loads, 10.0 + FIRST_COOLDOWN_S)


def test_of_miners_that_all_rest_the_one_that_is_ready_first_can_be_next() -> None:
    loads = [MinerLoad(uid, failures_in_a_row=1, last_failure_s=10.0 + uid) for uid in (1, 2)]
    assert can_be_next(1, loads, 12.0)
    assert not can_be_next(2, loads, 12.0)
    assert not can_be_next(3, loads, 12.0)
    assert not can_be_next(3, [], 12.0)
