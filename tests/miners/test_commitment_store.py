import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miners.commitment_log import CommitmentLog
from miners.commitment_store import WARNING_INTERVAL_S, CommitmentStore
from shared.commitments import Commitment
from tests.miners.full_disk import files_no_longer_than
from tests.shared.receipt_examples import example_commitment

WINDOW_S = 100.0
EXAMPLE = example_commitment()
SIZE = EXAMPLE.size_bytes


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def named(number: int) -> Commitment:
    return replace(EXAMPLE, request_id=f"request-{number}")


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


class Machine:
    """A miner's disk and clocks; each process on it has a monotonic clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wall = folder, Clock()
        self._disk: CommitmentLog | None = None

    def start(self, limit_bytes: int = 10 * SIZE) -> tuple[CommitmentStore, Clock]:
        """A process after the one before it ended; it read a clock that began anywhere."""
        self.end()
        self._disk = CommitmentLog(self.folder, "5Miner", WINDOW_S / 4, self.wall, segment_bytes=2 * SIZE)
        monotonic = Clock()
        monotonic.now_s = 3.0
        store = CommitmentStore(limit_bytes, WINDOW_S, monotonic, self._disk)
        store.restore()
        return store, monotonic

    def end(self) -> None:
        if self._disk is not None:
            self._disk.close()

    def bytes_on_disk(self) -> int:
        return sum(file.stat().st_size for file in self.folder.glob("commitments-*.log"))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    machine.end()


def held(store: CommitmentStore) -> list[int]:
    return [number for number in range(40) if f"request-{number}" in store]


def test_a_restarted_miner_opens_what_it_committed_to_before(machine: Machine) -> None:
    machine.start()[0].add(named(1))
    restored = machine.start()[0].get("request-1")
    assert restored is not None
    points = restored.points().points[::4]
    assert restored.open(points) == named(1).open(points)


def test_without_a_disk_nothing_is_restored(clock: Clock) -> None:
    store = CommitmentStore(SIZE, WINDOW_S, clock)
    store.restore()
    assert len(store) == 0


def test_the_window_goes_on_while_the_miner_does_not_run(machine: Machine) -> None:
    machine.start()[0].add(named(1))
    machine.wall.now_s += 60
    machine.start()[0].add(named(2))
    machine.wall.now_s += 30
    store, monotonic = machine.start()
    assert held(store) == [1, 2]
    monotonic.now_s += 10
    assert held(store) == [1, 2], "90 s before the start and 10 s after it"
    monotonic.now_s += 1
    assert held(store) == [2]
    machine.wall.now_s += WINDOW_S
    assert held(machine.start()[0]) == []
    assert machine.bytes_on_disk() == 0


def test_what_is_dropped_while_the_miner_runs_goes_from_the_disk_too(machine: Machine) -> None:
    store, monotonic = machine.start()
    for number in range(5):
        store.add(named(number))
    assert machine.bytes_on_disk() > 5 * SIZE
    monotonic.now_s += WINDOW_S + 1
    assert held(store) == []
    assert machine.bytes_on_disk() == 0


def test_a_smaller_bound_after_a_restart_drops_the_oldest_and_says_so(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    store, _ = machine.start()
    for number in range(6):
        store.add(named(number))
    assert held(machine.start(limit_bytes=2 * SIZE)[0]) == [4, 5]
    assert "--commitment-memory-mib" in caplog.text


def test_a_request_that_was_restored_is_answered_no_second_time(machine: Machine) -> None:
    machine.start()[0].add(named(1))
    store, _ = machine.start()
    with pytest.raises(ValueError, match="already"):
        store.add(named(1))


def test_of_two_commitments_of_a_request_on_disk_the_later_counts(machine: Machine) -> None:
    store, monotonic = machine.start()
    store.add(named(1))
    monotonic.now_s += WINDOW_S + 1
    store.add(named(2))
    store.add(named(1))
    machine.wall.now_s -= 50
    store, _ = machine.start()
    assert (held(store), store.size_bytes) == ([1, 2], 2 * SIZE)


def test_while_the_disk_is_full_commitments_are_held_in_memory_and_the_operator_is_told_once(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    store, monotonic = machine.start()
    store.add(named(0))
    with files_no_longer_than(machine.bytes_on_disk() + 100):
        for number in (1, 2):
            store.add(named(number))
    store.add(named(3))
    assert held(store) == [0, 1, 2, 3]
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1
    assert "make room on the disk" in caplog.text
    monotonic.now_s += WINDOW_S + 1
    assert held(store) == []
    assert machine.bytes_on_disk() == 0


def test_only_what_the_full_disk_did_not_take_is_lost(machine: Machine) -> None:
    store, _ = machine.start()
    store.add(named(0))
    with files_no_longer_than(machine.bytes_on_disk() + 100):
        store.add(named(1))
    assert "can't be written" in str(store.disk_trouble)
    store.add(named(2))
    assert store.disk_trouble is None
    assert held(machine.start()[0]) == [0, 2]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.one_of(st.just("restart"), st.tuples(st.integers(0, 39), st.floats(0, 60))), max_size=30))
def test_a_miner_with_restarts_holds_what_one_without_would(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | tuple[int, float]]
) -> None:
    machine = Machine(tmp_path_factory.mktemp("disk"))
    clock = Clock()
    undisturbed = CommitmentStore(3 * SIZE, WINDOW_S, clock)
    store, monotonic = machine.start(3 * SIZE)
    for step in steps:
        if isinstance(step, str):
            store, monotonic = machine.start(3 * SIZE)
            continue
        number, wait_s = step
        # Whole seconds: clocks that began at different times must agree on an age to the last digit.
        for one in (clock, monotonic, machine.wall):
            one.now_s += int(wait_s)
        if f"request-{number}" not in undisturbed:
            undisturbed.add(named(number))
            store.add(named(number))
        assert held(store) == held(undisturbed)
        assert machine.bytes_on_disk() < 3 * SIZE + 2 * SIZE + 3 * 200 + SIZE
    machine.end()
