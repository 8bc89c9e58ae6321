from hypothesis import given
from hypothesis import strategies as st

from miners.hidden_states.capture_store import MAX_UNCOLLECTED_S, REPLAY_POSITIONS, CaptureStore
from miners.hidden_states.request_names import CHOICES_PER_PROMPT
from shared.committed_positions import CommittedPositions


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def named(number: int, suffix: str = "00000000") -> str:
    return f"chatcmpl-request{number:04d}-{suffix}"


def hold(store: CaptureStore, number: int, size: int, finished: bool = True) -> None:
    store.begin(named(number), 8, 0, {})
    store.put(named(number), 7, bytes(size))
    if finished:
        store.finish(named(number))


def test_captures_are_taken_once_in_choice_order() -> None:
    store = CaptureStore()
    for prompt in (2, 0, 1):
        store.begin(f"cmpl-abcdefgh-{prompt}-00000000", 5, prompt, {})
    taken = store.take_choices("abcdefgh")
    assert [(one.name.choice, one.cached_tokens) for one in taken if one.name] == [(0, 0), (1, 1), (2, 2)]
    assert store.take_choices("abcdefgh") == []
    assert len(store) == 0


def test_wanted_positions_are_the_committed_ones_of_the_choice() -> None:
    store = CaptureStore()
    store.begin("3_chatcmpl-abcdefgh-00000000", 40, 0, {CHOICES_PER_PROMPT: 4})
    expected = CommittedPositions("abcdefgh", 3, 40).within(10, 90)
    assert list(store.wanted("3_chatcmpl-abcdefgh-00000000", 10, 90)) == expected
    assert list(store.wanted("3_chatcmpl-abcdefgh-00000001", 10, 90)) == []


def test_a_resumed_request_keeps_what_it_has_and_its_first_cached_length() -> None:
    store = CaptureStore()
    store.begin(named(1), 8, 4, {})
    store.put(named(1), 7, b"first")
    store.begin(named(1), 8, 0, {})
    (taken,) = store.take_choices("request0001")
    assert (taken.cached_tokens, taken.rows) == (4, {7: b"first"})


def test_a_recomputed_position_replaces_the_earlier_one() -> None:
    store = CaptureStore()
    hold(store, 1, 100, finished=False)
    store.put(named(1), 7, b"again")
    assert store.size_bytes == 5
    assert store.take_choices("request0001")[0].rows == {7: b"again"}


def test_a_second_request_for_the_same_choice_takes_the_place_of_the_first() -> None:
    store = CaptureStore()
    hold(store, 1, 100)
    store.begin(named(1, "11111111"), 8, 0, {})
    store.put(named(1, "11111111"), 7, b"new")
    store.put(named(1), 7, b"late")
    (taken,) = store.take_choices("request0001")
    assert taken.rows == {7: b"new"}
    assert store.size_bytes == 0


def test_rows_of_a_forgotten_request_are_dropped() -> None:
    store = CaptureStore()
    hold(store, 1, 100, finished=False)
    store.take_choices("request0001")
    store.put(named(1), 9, b"overshoot")
    store.finish(named(1))
    assert (len(store), store.size_bytes) == (0, 0)


def test_the_oldest_finished_go_first_beyond_the_bound() -> None:
    store = CaptureStore(max_bytes=250)
    for number in range(3):
        hold(store, number, 100)
    assert store.take_choices("request0000") == []
    assert len(store.take_choices("request0001")) == 1
    assert len(store.take_choices("request0002")) == 1


def test_running_requests_count_towards_no_bound_and_are_never_dropped() -> None:
    store = CaptureStore(max_bytes=250)
    hold(store, 0, 10_000, finished=False)
    hold(store, 1, 100)
    assert len(store.take_choices("request0001")) == 1
    assert len(store.take_choices("request0000")) == 1


def test_finished_captures_go_with_age() -> None:
    clock = Clock()
    store = CaptureStore(clock=clock)
    hold(store, 0, 100)
    clock.now_s = MAX_UNCOLLECTED_S - 1
    hold(store, 1, 100)
    assert len(store) == 2
    clock.now_s = MAX_UNCOLLECTED_S + 1
    hold(store, 2, 100)
    assert store.take_choices("request0000") == []
    assert len(store.take_choices("request0001")) == 1


def test_a_replay_wants_its_positions_and_is_no_choice() -> None:
    store = CaptureStore()
    store.begin("replay-00-11111111", 100, 0, {REPLAY_POSITIONS: [9, 3, 70]})
    assert store.is_replay("replay-00-11111111")
    assert list(store.wanted("replay-00-11111111", 0, 64)) == [3, 9]
    store.put("replay-00-11111111", 3, b"vector")
    taken = store.take_replay("replay-00")
    assert taken is not None
    assert taken.rows == {3: b"vector"}
    assert store.take_replay("replay-00") is None


def test_a_client_cannot_ask_for_vectors() -> None:
    store = CaptureStore()
    store.begin(named(1), 100, 0, {REPLAY_POSITIONS: [0, 1, 2]})
    assert not store.is_replay(named(1))
    committed = CommittedPositions("request0001", 0, 100).within(0, 100)
    assert list(store.wanted(named(1), 0, 100)) == committed


@given(st.floats() | st.text() | st.integers() | st.lists(st.integers()))
def test_no_number_of_siblings_breaks_the_engine(claimed: object) -> None:
    store = CaptureStore()
    store.begin("cmpl-abcdefgh-2-00000000", 5, 0, {CHOICES_PER_PROMPT: claimed})
    (taken,) = store.take_choices("abcdefgh")
    assert taken.name is not None
    assert taken.name.choice == 2


@given(st.lists(st.tuples(st.sampled_from("bpfct"), st.integers(0, 4), st.integers(0, 90)), max_size=60))
def test_the_byte_count_is_what_is_held(steps: list[tuple[str, int, int]]) -> None:
    store = CaptureStore(max_bytes=200)
    for step, number, size in steps:
        if step == "b":
            store.begin(named(number), 8, 0, {})
        elif step == "p":
            store.put(named(number), size % 8, bytes(size))
        elif step == "f":
            store.finish(named(number))
        else:
            store.take_choices(f"request{number:04d}")
        held = [store._tracked[key] for key in store._tracked]
        assert store.size_bytes == sum(one.size_bytes for one in held)
        finished = [one.size_bytes for one in held if one.finished_at_s is not None]
        assert store._finished_bytes == sum(finished)
