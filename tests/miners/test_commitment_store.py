import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miners.commitment_store import WARNING_INTERVAL_S, CommitmentStore
from shared.commitments import Commitment
from tests.shared.receipt_examples import example_commitment

WINDOW_S = 100.0
SIZE = example_commitment().size_bytes


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def named(number: int) -> Commitment:
    bare = example_commitment()
    return Commitment(f"request-{number}", bare.num_layers, bare.choices, bare.token_ids, bare.sketches)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_commitment_is_held_until_its_window_has_passed(clock: Clock) -> None:
    store = CommitmentStore(10 * SIZE, WINDOW_S, clock)
    store.add(named(1))
    clock.now_s += WINDOW_S
    assert store.get("request-1") == named(1)
    clock.now_s += 0.1
    assert store.get("request-1") is None
    assert (len(store), store.size_bytes) == (0, 0)


def test_an_unknown_request_is_not_held(clock: Clock) -> None:
    assert CommitmentStore(SIZE, WINDOW_S, clock).get("request-1") is None


def test_a_second_commitment_of_a_request_is_refused_and_the_first_stays(clock: Clock) -> None:
    store = CommitmentStore(10 * SIZE, WINDOW_S, clock)
    store.add(named(1))
    with pytest.raises(ValueError, match="already"):
        store.add(named(1))
    assert "request-1" in store
    assert store.size_bytes == SIZE


def test_the_oldest_go_first_when_memory_is_full_and_the_operator_is_told_once(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = CommitmentStore(2 * SIZE, WINDOW_S, clock)
    with caplog.at_level(logging.WARNING):
        for number in range(5):
            store.add(named(number))
    assert [number for number in range(5) if f"request-{number}" in store] == [3, 4]
    assert len(caplog.records) == 1
    assert "--commitment-memory-mib" in caplog.text


def test_the_operator_is_told_again_later(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    store = CommitmentStore(SIZE, 10 * WARNING_INTERVAL_S, clock)
    for number in range(3):
        store.add(named(number))
        clock.now_s += WARNING_INTERVAL_S
    assert len(caplog.records) == 2


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 50)), max_size=60))
def test_memory_and_age_stay_within_their_bounds(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    store = CommitmentStore(3 * SIZE, WINDOW_S, clock)
    added_at_s: dict[str, float] = {}
    for number, wait_s in steps:
        clock.now_s += wait_s
        commitment = named(number)
        if commitment.request_id not in store:
            store.add(commitment)
            added_at_s[commitment.request_id] = clock.now_s
        assert store.size_bytes == len(store) * SIZE <= 3 * SIZE
        held = [name for name in added_at_s if name in store]
        assert all(clock.now_s - added_at_s[name] <= WINDOW_S for name in held)
