"""What an operator sees of one request; those who serve it say what they know, through `current()`."""

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar

import orjson
from starlette.types import Message, Scope, Send

from gateway.client_connection import NO_HEADERS
from gateway.clock import Clock
from gateway.request_marks import read_marks
from gateway.tracing import RequestSpans
from shared.logs import REQUEST_ID
from shared.records import RequestRecord

CLIENT_GONE = 499
"""Status of a request whose client left before its answer began: nginx's number."""

REFUSED_BY_MINER = "refused_by_miner"
"""The code of what a miner refused: its own word is a stranger's."""

MAX_ERROR_BYTES = 16 << 10
MAX_CODE_CHARS = 64
_ERROR_EVENT = b'data: {"error"'
_REQUEST_ID_HEADER = b"x-request-id"

_CURRENT: ContextVar["Observation | None"] = ContextVar("observation", default=None)


def current() -> "Observation | None":
    """The request that this task serves, if it serves one."""
    return _CURRENT.get()


def onward_headers() -> Mapping[str, str]:
    """The trace headers that go to the miner with the current attempt."""
    one = _CURRENT.get()
    return NO_HEADERS if one is None else one.onward


def name_client(pseudonym: str) -> str:
    """Say who the client of the current request is; gives the pseudonym back."""
    one = _CURRENT.get()
    if one is not None:
        one.client = pseudonym
    return pseudonym


class Observation:
    """What is known of one request so far.

    Args:
        path: one of the gateway's own, or a word for all others.
        new_id: makes request ids.
        passes_trace: whether miners see which trace the request belongs to.

    Attributes:
        request_id: of the latest attempt; this is what the client is told.
        first_id: of the first attempt.
        attempts: how many were begun.
        client: the client's pseudonym; None for a request that was refused before it had one.
        last: the record of the latest attempt that has ended.
        status: of the answer; None before it begins.
        code: OpenAI's word for what went wrong.
        ttft_s: from the request's head to the first token; None for an answer without, or in one piece.
        finished: whether all of the answer was sent.
        close_connection: whether the client is told that its connection ends with this answer.
        spans: what a collector is told; None where there is none.
        onward: trace headers for the miner.
    """

    def __init__(
        self, scope: Scope, path: str, clock: Clock, new_id: Callable[[], str], passes_trace: bool
    ) -> None:
        self._clock, self._new_id = clock, new_id
        self.started_s = self._attempt_began_s = clock.monotonic_s()
        self.method: str = scope["method"]
        self.path = path
        self.request_id = self.first_id = new_id()
        self.marks = read_marks(scope["headers"])
        self.attempts = 0
        self.client: str | None = None
        self.last: RequestRecord | None = None
        self.status: int | None = None
        self.code: str | None = None
        self.ttft_s: float | None = None
        self.finished = False
        self.close_connection = False
        self.spans: RequestSpans | None = None
        trace = self.marks.trace
        self.onward: Mapping[str, str] = trace.headers() if trace and passes_trace else NO_HEADERS
        self._passes_trace = passes_trace

    def follow(self) -> None:
        """Make this the task's current request, in `current()` and in its log lines."""
        _CURRENT.set(self)
        REQUEST_ID.set(self.request_id)

    def next_attempt(self) -> str:
        """The request id of an attempt that begins now."""
        self.attempts += 1
        self._attempt_began_s = self._clock.monotonic_s()
        if self.attempts > 1:
            self.request_id = self._new_id()
            REQUEST_ID.set(self.request_id)
        if self.spans is not None:
            ours = self.spans.attempt_begins(self.request_id)
            self.onward = {**self.onward, **ours} if self._passes_trace else NO_HEADERS
        return self.request_id

    def attempt_ended(self, record: RequestRecord) -> None:
        """The latest attempt has ended."""
        self.last = record
        if self.spans is not None:
            self.spans.attempt_ended(record)
        if record.ttft_ms is not None:
            self.ttft_s = self._attempt_began_s - self.started_s + record.ttft_ms / 1000

    @property
    def outcome(self) -> str:
        """How it ended for the client, in a word."""
        if not self.finished or self.status is None:
            return "client_left"
        if self.status < 400:
            whole = self.last is None or self.last.outcome == "answered"
            return "answered" if whole else "broken_off"
        if self.status < 500:
            return "refused"
        return "unavailable" if self.status == 503 else "failed"

    def sending(self, send: Send) -> Send:
        """A `send` that notes what is sent: a plain function, since it is called for every chunk."""

        def noted(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                self._begins(message)
            elif not message.get("more_body", False):
                self._ends(message.get("body", b""))
            return send(message)

        return noted

    def _begins(self, message: Message) -> None:
        self.status = message["status"]
        headers = message.get("headers", ())
        for name, _ in headers:
            if name == _REQUEST_ID_HEADER:
                break
        else:
            headers = message["headers"] = [*headers, (_REQUEST_ID_HEADER, self.request_id.encode())]
        if self.close_connection:
            message["headers"] = [*headers, (b"connection", b"close")]

    def _ends(self, body: bytes) -> None:
        self.finished = True
        if len(body) > MAX_ERROR_BYTES:
            return
        if self.status is not None and self.status >= 400:
            self.code = self._code(body)
        elif body.startswith(_ERROR_EVENT):
            self.code = self._code(body.removeprefix(b"data: "))

    def _code(self, body: bytes) -> str | None:
        if self.last is not None and self.last.outcome == "refused":
            return REFUSED_BY_MINER
        try:
            code = orjson.loads(body)["error"]["code"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return None
        return code[:MAX_CODE_CHARS] if isinstance(code, str) else None
