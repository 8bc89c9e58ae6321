import itertools

from hypothesis import given
from hypothesis import strategies as st

from miners.event_stream import EventSplitter, data_event

STREAM = b'data: {"a": 1}\n\n: keep-alive\n\ndata: {"b": "x\\n\\n\xc3\xa9"}\n\ndata: [DONE]\n\n'


def split_at(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


@given(st.lists(st.integers(min_value=0), max_size=30))
def test_boundaries_anywhere_give_the_same_events(cuts: list[int]) -> None:
    whole, cut = EventSplitter(), EventSplitter()
    expected = list(whole.feed(STREAM))
    found = [event for chunk in split_at(STREAM, cuts) for event in cut.feed(chunk)]
    assert found == expected
    assert b"".join(event.raw for event in found) == STREAM
    assert cut.rest == b""


def test_only_the_last_event_is_done() -> None:
    events = list(EventSplitter().feed(STREAM))
    assert [event.is_done for event in events] == [False, False, False, True]
    assert events[1].data == b""


@given(st.lists(st.binary(min_size=1).filter(lambda data: b"\n" not in data), max_size=8))
def test_written_events_are_read_back(payloads: list[bytes]) -> None:
    events = list(EventSplitter().feed(b"".join(data_event(payload) for payload in payloads)))
    assert [event.data for event in events] == payloads


def test_an_incomplete_event_waits_for_its_end() -> None:
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: [DON")) == []
    assert splitter.rest == b"data: [DON"
    assert next(iter(splitter.feed(b"E]\n\n"))).is_done


def test_text_that_speaks_of_done_is_not_the_end() -> None:
    (event,) = EventSplitter().feed(b'data: {"text": "data: [DONE]"}\n\n')
    assert not event.is_done
