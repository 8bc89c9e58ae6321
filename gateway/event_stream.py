"""Server-sent events as they arrive: bytes in, whole events out.

https://html.spec.whatwg.org/multipage/server-sent-events.html, with lines that end in LF or CRLF.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from gateway.errors import MinerFailure

MAX_EVENT_BYTES = 1 << 20
"""Largest event. The first event of a stream carries the prompt's token ids: 7 bytes each."""

DONE = b"[DONE]"
DONE_EVENT = b"data: [DONE]\n\n"

_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LONGEST_BLANK_LINE = 4


class Event(NamedTuple):
    """One event.

    Attributes:
        raw: its bytes as they came, blank line included.
        data: its data lines joined; None for an event without data, such as a comment.
    """

    raw: bytes
    data: bytes | None


class EventSplitter:
    """Cuts a stream of bytes into events. Holds at most one unfinished event."""

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes, one by one; must be consumed to the end or never used again.

        Raises:
            MinerFailure: an event is larger than allowed.
        """
        if self._pending or not data.endswith(b"\n\n") or b"\r" in data:
            return self._events(data)
        return self._whole_events(data)

    def only_event(self, data: bytes) -> bytes | None:
        """The data of an event, where that is all there is: nothing pending, one event, one line of data.

        This is the usual case. Otherwise None, and `data` is still to be fed.

        Raises:
            MinerFailure: the event is larger than allowed.
        """
        if self._pending or b"\r" in data or not data.startswith(b"data: "):
            return None
        if not data.endswith(b"\n\n") or data.find(b"\n") != len(data) - 2:
            return None
        self._check_size(len(data))
        return data[6:-2]

    def _events(self, data: bytes) -> Iterator[Event]:
        searched = max(0, len(self._pending) - _LONGEST_BLANK_LINE + 1)
        self._pending += data
        start = 0
        while found := _BLANK_LINE.search(self._pending, max(start, searched)):
            raw = bytes(self._pending[start : found.end()])
            self._check_size(len(raw))
            yield Event(raw, _data(raw))
            start = found.end()
        del self._pending[:start]
        self._check_size(len(self._pending))

    def _whole_events(self, data: bytes) -> Iterator[Event]:
        """Events where nothing is pending, and nothing stays, cheaply."""
        for text in data[:-2].split(b"\n\n"):
            self._check_size(len(text) + 2)
            usual = text.startswith(b"data: ") and b"\n" not in text
            yield Event(text + b"\n\n", text[6:] if usual else _data(text))

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise MinerFailure(f"it sent an event of more than {self._max_event_bytes} bytes")


def _data(raw: bytes) -> bytes | None:
    lines = [_value(line) for line in raw.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _value(line: bytes) -> bytes:
    return line[5:].removeprefix(b" ")
