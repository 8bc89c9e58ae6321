"""Spans of requests and of their attempts at miners, for an OpenTelemetry collector, where there is one.

This module imports no OpenTelemetry until tracing is switched on: it takes half a second and some 20 MB.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gateway.request_marks import TraceContext
from shared.records import RequestRecord

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

SERVICE = "constantinople-gateway"
NAMESPACE = "constantinople"
FLUSH_MS = 3000
"""What is not delivered so long after the last request is lost: a dead collector holds up no restart."""

Attributes = Mapping[str, str | int | float]


class RequestSpans:
    """The span of one request, and those of its attempts, which are under it one after the other."""

    def __init__(self, tracer: Any, propagator: Any, name: str, client: TraceContext | None) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context

        self._tracer, self._propagator, self._in_context = tracer, propagator, set_span_in_context
        parent = propagator.extract(dict(client.headers())) if client else None
        self._request: Span = tracer.start_span(name, parent, SpanKind.SERVER)
        self._attempt: Span | None = None
        self._attempt_kind = SpanKind.CLIENT

    @property
    def traceparent(self) -> str:
        """The request's own span, as a header says it."""
        return self._headers(self._request)["traceparent"]

    def attempt_begins(self, request_id: str) -> Mapping[str, str]:
        """An attempt begins; gives the headers that put what the miner does under it."""
        self._end_attempt()
        named = {f"{NAMESPACE}.request_id": request_id}
        context = self._in_context(self._request)
        self._attempt = self._tracer.start_span("attempt", context, self._attempt_kind, named)
        return self._headers(self._attempt)

    def attempt_ended(self, record: RequestRecord) -> None:
        """The attempt has ended."""
        if self._attempt is not None:
            self._attempt.set_attributes(_attempt_attributes(record))
            _judge(self._attempt, record.outcome == "failed", record.outcome)
        self._end_attempt()

    def request_ended(self, status: int, outcome: str, attributes: Attributes) -> None:
        """The request has ended, and with it whatever was under way."""
        self._end_attempt()
        self._request.set_attributes({"http.response.status_code": status, f"{NAMESPACE}.outcome": outcome})
        self._request.set_attributes(attributes)
        _judge(self._request, status >= 500 or outcome == "broken_off", outcome)
        self._request.end()

    def _end_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.end()
        self._attempt = None

    def _headers(self, span: "Span") -> dict[str, str]:
        headers: dict[str, str] = {}
        self._propagator.inject(headers, self._in_context(span))
        return headers


def _attempt_attributes(record: RequestRecord) -> Attributes:
    named: dict[str, str | int | float] = {
        "miner_uid": record.miner_uid,
        "miner_hotkey": record.miner_hotkey,
        "outcome": record.outcome,
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
    }
    if record.ttft_ms is not None:
        named["ttft_ms"] = record.ttft_ms
    return {f"{NAMESPACE}.{name}": value for name, value in named.items()}


def _judge(span: "Span", wrong: bool, why: str) -> None:
    from opentelemetry.trace import Status, StatusCode

    if wrong:
        span.set_status(Status(StatusCode.ERROR, why))


class Tracing:
    """Makes spans.

    Args:
        processor: what takes those that have ended.
    """

    def __init__(self, processor: "SpanProcessor", resource: Mapping[str, str]) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = TracerProvider(resource=Resource.create({"service.name": SERVICE, **resource}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(NAMESPACE)
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, method: str, path: str, client: TraceContext | None) -> RequestSpans:
        """A request begins, within the client's trace if it names one."""
        return RequestSpans(self._tracer, self._propagator, f"{method} {path}", client)

    def close(self) -> None:
        """Deliver what waits. Blocks, for some seconds at most."""
        self._provider.force_flush(FLUSH_MS)
        self._provider.shutdown()


def open_tracing(endpoint: str | None, resource: Mapping[str, str]) -> Tracing | None:
    """Tracing to an OTLP collector over HTTP; None where none is named.

    Sampling and headers are read from OpenTelemetry's own variables (OTEL_TRACES_SAMPLER,
    OTEL_EXPORTER_OTLP_HEADERS).
    """
    if endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return Tracing(BatchSpanProcessor(OTLPSpanExporter(endpoint)), resource)
