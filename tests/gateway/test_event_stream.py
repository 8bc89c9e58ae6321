import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import MinerFailure
from gateway.event_stream import Event, EventSplitter


def split(*pieces: bytes, max_event_bytes: int = 1 << 20) -> list[Event]:
    splitter = EventSplitter(max_event_bytes)
    return [event for piece in pieces for event in splitter.feed(piece)]


def test_events_come_out_with_their_own_bytes() -> None:
    assert split(b'data: {"a":1}\n\ndata: [DONE]\n\n') == [
        Event(b'data: {"a":1}\n\n', b'{"a":1}'),
        Event(b"data: [DONE]\n\n", b"[DONE]"),
    ]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_both_line_endings_are_understood(newline: bytes) -> None:
    stream = newline.join([b"event: x", b"data: one", b"data: two", b"", b""])
    assert [event.data for event in split(stream)] == [b"one\ntwo"]


def test_a_comment_is_an_event_without_data() -> None:
    assert [event.data for event in split(b": ping\n\ndata:x\n\n")] == [None, b"x"]


def test_an_unfinished_event_stays_inside() -> None:
    assert split(b"data: x\n") == []


LINES = st.lists(
    st.binary(max_size=12).filter(lambda line: b"\n" not in line and b"\r" not in line), max_size=3
)
EVENTS = st.lists(LINES.filter(lambda lines: any(lines)), max_size=6)


@given(EVENTS, st.lists(st.integers(0, 200)), st.sampled_from([b"\n", b"\r\n"]))
def test_events_do_not_depend_on_how_the_network_cuts_them(
    events: list[list[bytes]], cuts: list[int], newline: bytes
) -> None:
    stream = b"".join(b"".join(b"data: " + line + newline for line in event) + newline for event in events)
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(places)]
    assert [event.data for event in split(*pieces)] == [b"\n".join(event) for event in events]
    assert b"".join(event.raw for event in split(*pieces)) == stream


def test_one_byte_at_a_time_gives_the_same_events() -> None:
    stream = b"data: a\r\n\r\ndata: b\n\n: c\n\n"
    assert split(*(bytes([byte]) for byte in stream)) == split(stream)


def test_an_event_that_never_ends_is_cut_off() -> None:
    with pytest.raises(MinerFailure, match="more than 100 bytes"):
        split(b"data: " + b"x" * 50, b"x" * 50, max_event_bytes=100)


def test_a_finished_event_beyond_the_bound_is_refused() -> None:
    with pytest.raises(MinerFailure):
        split(b"data: " + b"x" * 200 + b"\n\n", max_event_bytes=100)


def test_events_before_an_oversized_one_are_given_first() -> None:
    events = EventSplitter(20).feed(b"data: ok\n\ndata: " + b"x" * 50)
    assert next(events).data == b"ok"
    with pytest.raises(MinerFailure):
        next(events)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'data: {"a": 1}\n\n', b'{"a": 1}'),
        (b"data: [DONE]\n\n", b"[DONE]"),
        (b"data: a\n\ndata: b\n\n", None),
        (b"data: a\ndata: b\n\n", None),
        (b"data: a\n", None),
        (b"data: a\rdata: b\n\n", None),
        (b": comment\n\n", None),
        (b"event: x\ndata: a\n\n", None),
        (b"data:a\n\n", None),
        (b"\n\n", None),
        (b"", None),
    ],
)
def test_an_only_event_is_told_from_all_else(data: bytes, expected: bytes | None) -> None:
    assert EventSplitter().only_event(data) == expected


def test_no_event_is_the_only_one_while_another_is_pending() -> None:
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: begin")) == []
    assert splitter.only_event(b"data: a\n\n") is None


def test_an_only_event_may_be_no_larger_than_others() -> None:
    with pytest.raises(MinerFailure, match="more than 20 bytes"):
        EventSplitter(20).only_event(b"data: " + b"x" * 50 + b"\n\n")
