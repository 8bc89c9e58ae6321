"""Stands before the application: follows every request, then counts it and writes its line in the log."""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.clock import Clock
from gateway.metrics import Metrics
from gateway.observation import CLIENT_GONE, Observation
from gateway.observation import current as current_observation
from gateway.randomness import RequestIds
from gateway.tracing import Tracing
from shared.logs import fields

log = logging.getLogger("gateway.access")

OTHER_PATH = "other"
"""What all addresses that are none of the gateway's are counted under."""

_LINE = vars(logging.LogRecord(log.name, logging.INFO, __file__, 0, "request", (), None))
"""What all lines of the log say, made once: that takes most of a line's time."""

QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})
"""What machines ask every few seconds is logged at level DEBUG."""


def next_request_id() -> str:
    """The id of the attempt that begins now, at whatever request this task serves."""
    one = current_observation()
    return RequestIds()() if one is None else one.next_attempt()


@dataclass(frozen=True)
class PathNames:
    """What requests are counted under: their path, if it is one of the gateway's.

    Attributes:
        exact: paths that are served beside `routes`.
        routes: a framework's, whose path stands for all that match it: `/v1/models/{name}`.
    """

    exact: Collection[str]
    routes: Sequence[BaseRoute] = ()

    def name(self, scope: Scope) -> str:
        """The name of a request's path; a stranger can't make up more of them."""
        path: str = scope["path"]
        if path in self.exact:
            return path
        for route in self.routes:
            if route.matches(scope)[0] is not Match.NONE:
                return str(getattr(route, "path", OTHER_PATH))
        return OTHER_PATH


class Observed:
    """An ASGI application around another, which it changes nothing of.

    Args:
        closes_connections: says that no connection is to be kept for another request.
        passes_trace: whether miners get trace headers.
        tracing: where spans go; None: nowhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        names: PathNames,
        clock: Clock,
        closes_connections: Callable[[], bool],
        passes_trace: bool = True,
        tracing: Tracing | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._app, self._metrics, self._names, self._clock = app, metrics, names, clock
        self._closes_connections, self._new_id = closes_connections, new_id or RequestIds()
        self._passes_trace, self._tracing = passes_trace, tracing
        self._in_flight = 0
        gauge = metrics.gauge("requests_in_flight", "Requests whose answer has not ended.", "livesum")
        metrics.before_scrape(lambda: gauge.set(self._in_flight))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name = self._names.name(scope)
        one = Observation(scope, name, self._clock, self._new_id, self._passes_trace)
        one.close_connection = self._closes_connections()
        if self._tracing is not None and name not in QUIET_PATHS:
            one.spans = self._tracing.begin(one.method, name, one.marks.trace)
        one.follow()
        self._in_flight += 1
        try:
            await self._app(scope, receive, one.sending(send))
        finally:
            self._in_flight -= 1
            self._conclude(one)

    def _conclude(self, one: Observation) -> None:
        duration_s = self._clock.monotonic_s() - one.started_s
        status, outcome = CLIENT_GONE if one.status is None else one.status, one.outcome
        self._metrics.request_ended(one.path, status, outcome, duration_s)
        if one.status is not None and one.status >= 400:
            self._metrics.request_refused(one.status, one.code)
        if one.ttft_s is not None:
            self._metrics.first_token(one.ttft_s)
        if one.attempts > 1:
            self._metrics.retried(one.attempts - 1)
        if one.spans is not None:
            one.spans.request_ended(status, outcome, _span_attributes(one))
        level = logging.DEBUG if one.path in QUIET_PATHS else logging.INFO
        if log.isEnabledFor(level):
            _log_access(level, one, status, outcome, duration_s)


def _span_attributes(one: Observation) -> dict[str, str | int | float]:
    named: dict[str, str | int | float] = {
        "http.request.method": one.method,
        "http.route": one.path,
        "constantinople.request_id": one.request_id,
        "constantinople.attempts": one.attempts,
    }
    if one.client is not None:
        named["constantinople.client"] = one.client
    if one.code is not None:
        named["error.type"] = one.code
    return named


def _log_access(level: int, one: Observation, status: int, outcome: str, duration_s: float) -> None:
    last, trace = one.last, one.marks.trace
    traceparent = one.spans.traceparent if one.spans else trace and trace.traceparent
    named = fields(
        request_id=one.request_id,
        client_request=None if one.first_id == one.request_id else one.first_id,
        client_request_id=one.marks.client_id,
        client=one.client,
        method=one.method,
        path=one.path,
        status=status,
        outcome=outcome,
        code=one.code,
        miner_uid=last and last.miner_uid,
        miner_hotkey=last and last.miner_hotkey,
        attempts=one.attempts or None,
        ttft_ms=None if one.ttft_s is None else round(one.ttft_s * 1000, 1),
        duration_ms=round(duration_s * 1000, 1),
        prompt_tokens=last and last.prompt_tokens,
        output_tokens=last and last.output_tokens,
        traceparent=traceparent,
    )
    record = logging.LogRecord.__new__(logging.LogRecord)
    now_s = time.time()
    own: dict[str, Any] = {"created": now_s, "msecs": int(now_s % 1 * 1000) + 0.0}
    own |= {"levelno": level, "levelname": logging.getLevelName(level)}
    record.__dict__ = {**_LINE, **own, **named}
    log.handle(record)
