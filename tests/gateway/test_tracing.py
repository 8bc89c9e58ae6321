"""Trace headers on their way to miners, and spans on their way to a collector."""

import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway.tracing import Tracing, open_tracing
from tests.gateway.running_gateway import CHAT, running_gateway
from tests.gateway.scripted_miner import Script, honest

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
TRACED = {"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "tier=gold"}
TRACE_HEADERS = ("traceparent", "tracestate", "baggage")


@dataclass
class Miner:
    """Behaves honestly, and remembers the trace headers that it got."""

    seen: list[Mapping[str, str]] = field(default_factory=list)
    fails: bool = False

    async def __call__(self, request: web.Request, script: Script) -> web.StreamResponse:
        self.seen.append({name: request.headers[name] for name in TRACE_HEADERS if name in request.headers})
        return web.Response(status=500) if self.fails else await honest(request, script)


async def test_a_miner_gets_the_clients_trace(tmp_path: Path) -> None:
    miner = Miner()
    async with running_gateway(tmp_path, miner) as gateway:
        await gateway.openai.chat.completions.create(**CHAT, extra_headers=TRACED)
    assert miner.seen == [TRACED]


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-nonsense"}, {"baggage": "x" * 9000}])
async def test_without_a_valid_trace_none_is_made_up(tmp_path: Path, headers: dict[str, str]) -> None:
    miner = Miner()
    async with running_gateway(tmp_path, miner) as gateway:
        await gateway.openai.chat.completions.create(**CHAT, extra_headers=headers)
    assert miner.seen == [{}]


async def test_an_operator_can_keep_traces_from_miners(tmp_path: Path) -> None:
    miner, (tracing, _) = Miner(), collecting()
    async with running_gateway(tmp_path, miner, pass_trace_headers=False, tracing=tracing) as gateway:
        await gateway.openai.chat.completions.create(**CHAT, extra_headers=TRACED)
    assert miner.seen == [{}]


def collecting() -> tuple[Tracing, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    return Tracing(SimpleSpanProcessor(exporter), {}), exporter


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return dict(span.attributes or {})


def identity(span: ReadableSpan) -> tuple[str, str]:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


async def test_a_request_and_its_attempts_are_spans_of_the_clients_trace(tmp_path: Path) -> None:
    failing, working = Miner(fails=True), Miner()
    tracing, exporter = collecting()
    async with running_gateway(tmp_path, failing, working, tracing=tracing) as gateway:
        await gateway.openai.chat.completions.create(**CHAT, extra_headers=TRACED)
        await gateway.idle()
        records = gateway.records()
    first, second, request = exporter.get_finished_spans()
    assert {identity(span)[0] for span in (first, second, request)} == {TRACE}
    assert request.parent is not None
    assert f"{request.parent.span_id:016x}" == SPAN
    for span, record, miner in zip((first, second), records, (failing, working), strict=True):
        assert span.parent is not None
        assert f"{span.parent.span_id:016x}" == identity(request)[1]
        assert attributes(span)["constantinople.request_id"] == record.request_id
        assert attributes(span)["constantinople.outcome"] == record.outcome
        own = f"00-{TRACE}-{identity(span)[1]}-01"
        assert miner.seen == [{**TRACED, "traceparent": own}], "the miner's spans come under the attempt's"
    assert (first.status.status_code, second.status.status_code) == (StatusCode.ERROR, StatusCode.UNSET)
    assert request.name == "POST /v1/chat/completions"
    assert attributes(request)["http.response.status_code"] == 200
    assert attributes(request)["constantinople.attempts"] == 2


async def test_with_a_collector_a_request_without_a_trace_begins_one(tmp_path: Path) -> None:
    miner, (tracing, exporter) = Miner(), collecting()
    async with running_gateway(tmp_path, miner, tracing=tracing) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        await gateway.idle()
    attempt, request = exporter.get_finished_spans()
    assert request.parent is None
    (headers,) = miner.seen
    assert headers["traceparent"].split("-")[1:3] == list(identity(attempt))


async def test_spans_hold_no_text_and_no_address(tmp_path: Path) -> None:
    tracing, exporter = collecting()
    async with running_gateway(tmp_path, tracing=tracing) as gateway:
        with pytest.raises(openai.NotFoundError):
            await gateway.openai.chat.completions.create(**{**CHAT, "model": "my-private-model"})
        await gateway.openai.chat.completions.create(**CHAT)
        await gateway.idle()
    said = "".join(span.to_json() for span in exporter.get_finished_spans())
    assert "model_not_found" in said
    assert [word for word in ("my-private", "Who answers", "127.0.0.1", "honestly") if word in said] == []


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP collector over HTTP: its address, and what it got."""
    got: list[ExportTraceServiceRequest] = []

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("content-encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        got.append(ExportTraceServiceRequest.FromString(body))
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield "http://{}:{}/v1/traces".format(*runner.addresses[0][:2]), got
    finally:
        await runner.cleanup()


async def test_a_real_collector_gets_the_spans_before_the_gateway_ends(tmp_path: Path) -> None:
    async with collector() as (url, got), running_gateway(tmp_path, otlp_endpoint=url) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        await gateway.idle()
    parts = [part for one in got for resource in one.resource_spans for part in resource.scope_spans]
    spans = [span for part in parts for span in part.spans]
    assert [span.name for span in spans] == ["attempt", "POST /v1/chat/completions"]
    resource = {pair.key: pair.value.string_value for pair in got[0].resource_spans[0].resource.attributes}
    assert resource["service.name"] == "constantinople-gateway"


def test_without_a_collector_there_is_no_tracing() -> None:
    assert open_tracing(None, {}) is None
