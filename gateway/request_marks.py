"""What a request's head says about how it is traced: W3C trace context, baggage, the client's own id for it.

https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/baggage/. All of it is a stranger's word: it is
checked, bounded, logged and passed on, and decides nothing.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

MAX_TRACESTATE_CHARS = 512
MAX_TRACESTATE_MEMBERS = 32
"""Trace Context, sections 3.3.1.5 and 3.3.1.1: what must be passed on, and the most there may be."""

MAX_BAGGAGE_CHARS = 8192
MAX_BAGGAGE_MEMBERS = 64
"""Baggage, section 3.3.2: what everybody must pass on."""

MAX_CLIENT_ID_CHARS = 64
"""A UUID has 36 characters, an id of OpenAI's API about as many."""

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?"
)
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_NO_WORD_CHARACTER = re.compile(r"[^A-Za-z0-9._:-]")

_WANTED = frozenset({b"traceparent", b"tracestate", b"baggage", b"x-request-id", b"x-client-request-id"})


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace that a request belongs to, as its client says.

    Attributes:
        traceparent: version, trace id, the client's span and flags, in the form of version 00.
        tracestate: None when there is none, or one that is not allowed.
        baggage: likewise.
    """

    traceparent: str | None
    tracestate: str | None
    baggage: str | None

    def headers(self) -> Mapping[str, str]:
        """The headers to pass on."""
        named = (
            ("traceparent", self.traceparent),
            ("tracestate", self.tracestate),
            ("baggage", self.baggage),
        )
        return {name: value for name, value in named if value is not None}


@dataclass(frozen=True, slots=True)
class RequestMarks:
    """What a request is called by its client.

    Attributes:
        client_id: the client's own id for it, cut and cleaned.
    """

    trace: TraceContext | None = None
    client_id: str | None = None


UNMARKED = RequestMarks()


def read_marks(headers: Iterable[tuple[bytes, bytes]]) -> RequestMarks:
    """The marks in a request's headers, whose names are in lower case; what is malformed is left out."""
    found: dict[bytes, list[str]] = {}
    for name, value in headers:
        if name in _WANTED:
            found.setdefault(name, []).append(value.decode("latin-1").strip())
    if not found:
        return UNMARKED
    named = found.get(b"x-client-request-id") or found.get(b"x-request-id")
    return RequestMarks(_trace(found), _clean(named[0]) if named else None)


def _trace(found: Mapping[bytes, list[str]]) -> TraceContext | None:
    parents = found.get(b"traceparent", [])
    parent = _traceparent(parents[0]) if len(parents) == 1 else None
    state = found.get(b"tracestate") if parent else None
    trace = TraceContext(
        parent,
        _list(state, MAX_TRACESTATE_CHARS, MAX_TRACESTATE_MEMBERS),
        _list(found.get(b"baggage"), MAX_BAGGAGE_CHARS, MAX_BAGGAGE_MEMBERS),
    )
    return trace if trace.headers() else None


def _traceparent(value: str) -> str | None:
    """A valid value in the form of version 00; a later version may say more at its end, which is left out."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None or (match[1] == "00" and match[5]):
        return None
    return f"00-{match[2]}-{match[3]}-{match[4]}"


def _list(values: list[str] | None, chars: int, members: int) -> str | None:
    """Several headers as one; None when it is empty, too long, or has characters that no header may have."""
    joined = ",".join(value for value in values or () if value)
    allowed = len(joined) <= chars and joined.count(",") < members and _PRINTABLE.fullmatch(joined)
    return joined if allowed else None


def _clean(client_id: str) -> str | None:
    return _NO_WORD_CHARACTER.sub("_", client_id[:MAX_CLIENT_ID_CHARS]) or None
