"""Server-sent events as vLLM writes them, cut out of byte chunks with boundaries anywhere."""

from collections.abc import Iterator
from dataclasses import dataclass

DONE = b"[DONE]"
_DATA = b"data:"
_END = b"\n\n"


@dataclass(frozen=True)
class Event:
    """One event: `raw` with its blank line, `data` without `data:` (empty for comments)."""

    raw: bytes
    data: bytes

    @property
    def is_done(self) -> bool:
        """Whether this is the last event of an OpenAI stream."""
        return self.data == DONE


def data_event(data: bytes) -> bytes:
    """The bytes of an event with one line of data."""
    return b"data: " + data + _END


class EventSplitter:
    """Gives complete events; an incomplete one waits for its end, since no client can use a part."""

    def __init__(self) -> None:
        self._partial = b""

    @property
    def rest(self) -> bytes:
        """What came after the last complete event."""
        return self._partial

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` completes."""
        *complete, self._partial = (self._partial + chunk).split(_END)
        for text in complete:
            yield Event(text + _END, _data(text))


def _data(text: bytes) -> bytes:
    lines = [line[len(_DATA) :].removeprefix(b" ") for line in text.split(b"\n") if line.startswith(_DATA)]
    return b"\n".join(lines)
