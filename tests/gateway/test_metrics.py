"""GET /metrics: what it counts, whom it names, and who may read it."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.config import GatewayConfig, networks
from gateway.exposition import may_read
from gateway.http_server import ConnectionLimits
from gateway.metrics import MOST_CODES, Metrics
from gateway.miner_metrics import AttemptFacts
from gateway.miners import MinerListing
from shared.records import RequestRecord
from tests.gateway.running_gateway import CHAT, COMPLETION, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import Script, honest, open_stream

PREFIX = "constantinople_gateway_"
REPOSITORY = Path(__file__).resolve().parents[2]


def parse(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Scrape:
    """What /metrics said at one moment."""

    def __init__(self, text: str) -> None:
        self.text, self._samples = text, parse(text)

    def __call__(self, name: str, **labels: str) -> float | None:
        return self._samples.get((PREFIX + name, frozenset(labels.items())))

    def names_with(self, label: str) -> set[str]:
        return {name for name, labels in self._samples if label in dict(labels)}


async def get(gateway: RunningGateway, path: str, **headers: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(gateway.url + path, headers=headers) as answer:
        return answer.status, await answer.text()


async def scrape(gateway: RunningGateway) -> Scrape:
    await gateway.idle()
    status, text = await get(gateway, "/metrics")
    assert status == 200
    return Scrape(text)


async def broken(request: web.Request, script: Script) -> web.StreamResponse:
    return web.Response(status=500)


async def breaks_off(request: web.Request, script: Script) -> web.StreamResponse:
    return await script.stream(request, *script.events[:3])


async def picky(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "no", "code": "my_own_word"}}, status=400)


async def test_a_stream_is_counted_with_its_tokens_its_miner_and_its_times(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        _ = [event async for event in stream]
        seen = await scrape(gateway)
    miner = {"uid": "0", "hotkey": gateway.miners[0].hotkey}
    path = "/v1/chat/completions"
    assert seen("requests_total", path=path, status="200", outcome="answered") == 1
    assert seen("request_duration_seconds_count", path=path) == 1
    assert seen("time_to_first_token_seconds_count") == 1
    assert seen("inter_token_seconds_count") == 1
    assert (seen("prompt_tokens_total"), seen("output_tokens_total")) == (3, 4)
    assert seen("miner_attempts_total", **miner, outcome="answered") == 1
    assert (seen("miner_prompt_tokens_total", **miner), seen("miner_output_tokens_total", **miner)) == (3, 4)
    assert (seen("miner_callable", **miner), seen("miner_in_flight", **miner)) == (1, 0)
    assert seen("miners", state="ready") == 1
    assert (seen("ready"), seen("draining"), seen("keys_readable"), seen("record_log_writable")) == (
        1,
        0,
        1,
        1,
    )
    assert seen("requests_in_flight") == 1, "the request for metrics itself"


async def test_an_answer_in_one_piece_has_no_first_token(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.openai.completions.create(**COMPLETION)
        seen = await scrape(gateway)
    assert seen("requests_total", path="/v1/completions", status="200", outcome="answered") == 1
    assert (seen("time_to_first_token_seconds_count"), seen("inter_token_seconds_count")) == (0, 0)
    assert seen("miner_streams_total", uid="0", hotkey=gateway.miners[0].hotkey) == 0


async def test_two_scrapes_count_a_request_once(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.openai.completions.create(**COMPLETION)
        await scrape(gateway)
        seen = await scrape(gateway)
    assert seen("output_tokens_total") == 4
    assert seen("requests_total", path="/metrics", status="200", outcome="answered") == 1


async def test_failures_retries_and_rest_are_shown(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, broken, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        seen = await scrape(gateway)
    first = {"uid": "0", "hotkey": gateway.miners[0].hotkey}
    assert seen("retries_total") == 1
    assert seen("miner_attempts_total", **first, outcome="failed") == 1
    assert (seen("miner_breaker", **first), seen("miner_failures_in_a_row", **first)) == (2, 1)
    assert (seen("miners", state="ready"), seen("miners", state="resting")) == (1, 1)
    assert seen("requests_total", path="/v1/chat/completions", status="200", outcome="answered") == 1


async def test_a_stream_that_its_miner_breaks_off_is_no_answered_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, breaks_off) as gateway:
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        with pytest.raises(openai.APIError):
            _ = [event async for event in stream]
        seen = await scrape(gateway)
    assert seen("requests_total", path="/v1/chat/completions", status="200", outcome="broken_off") == 1


async def test_refusals_are_counted_by_the_gateways_own_words(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, picky, picky, anonymous_requests_per_minute=3) as gateway:
        client = gateway.openai
        for wrong in ({"model": "other"}, {"n": "many"}, {}, {}):
            with pytest.raises(openai.APIStatusError):
                await client.chat.completions.create(**{**CHAT, **wrong})
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="cst_wrong").chat.completions.create(**CHAT)
        seen = await scrape(gateway)
    assert seen("refusals_total", status="404", code="model_not_found") == 1
    assert seen("refusals_total", status="400", code="none") == 1
    assert seen("refusals_total", status="400", code="refused_by_miner") == 1
    assert seen("refusals_total", status="429", code="rate_limit_exceeded") == 1
    assert seen("refusals_total", status="401", code="invalid_api_key") == 1
    assert "my_own_word" not in seen.text
    assert "cst_" not in seen.text


async def test_strangers_can_make_no_series_by_asking_for_addresses(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for number in range(5):
            await get(gateway, f"/nothing/{number}")
            await get(gateway, f"/v1/models/some-{number}")
        seen = await scrape(gateway)
    assert seen("requests_total", path="other", status="404", outcome="refused") == 5
    assert seen("requests_total", path="/v1/models/{name:path}", status="404", outcome="refused") == 5
    assert "/nothing/" not in seen.text


async def test_a_miner_that_leaves_the_list_takes_its_series_with_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.openai.completions.create(**COMPLETION)
        before = await scrape(gateway)
        gateway.parts.table.update([MinerListing(0, keypair("newcomer").ss58_address, None)])
        after = await scrape(gateway)
    left, came = gateway.miners[0].hotkey, keypair("newcomer").ss58_address
    assert before("miner_output_tokens_total", uid="0", hotkey=left) == 4
    assert left in before.text
    assert left not in after.text
    assert after("miner_callable", uid="0", hotkey=came) == 0
    assert after("output_tokens_total") == 4, "totals stay"


async def test_a_client_that_leaves_is_counted_as_one(tmp_path: Path) -> None:
    async def endless(request: web.Request, script: Script) -> web.StreamResponse:
        response = await open_stream(request)
        await response.write(b"".join(script.events[:2]))
        await asyncio.Event().wait()
        return response

    async with running_gateway(tmp_path, endless) as gateway:
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        await anext(aiter(stream))
        await stream.close()
        seen = await scrape(gateway)
    path = "/v1/chat/completions"
    assert seen("requests_total", path=path, status="200", outcome="client_left") == 1
    assert seen("refusals_total", status="200", code="none") is None


async def test_what_is_refused_before_any_application_sees_it_is_counted(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, limits=ConnectionLimits(header_bytes=1024)) as gateway:
        reader, writer = await asyncio.open_connection(*gateway.address)
        writer.write(b"GET /health HTTP/1.1\r\nx-large: " + b"x" * 4096)
        answer = await reader.read()
        writer.close()
        seen = await scrape(gateway)
    assert b"431" in answer.splitlines()[0]
    assert seen("refusals_total", status="431", code="headers_too_large") == 1


async def test_use_that_is_not_stored_yet_waits_in_a_queue(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.openai.completions.create(**COMPLETION)
        before = await scrape(gateway)
        await gateway.parts.admission.refresh()
        after = await scrape(gateway)
    assert (before("queue_depth", queue="usage"), after("queue_depth", queue="usage")) == (1, 0)
    assert after("errors_total", subject="usage_store") == 0


class FullDisk:
    """A record log that takes nothing."""

    def append(self, record: RequestRecord) -> None:
        raise OSError("no space left")

    sync = check_room = close = lambda self: None


async def test_a_record_log_that_can_not_be_written_is_shown(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, records=FullDisk()) as gateway:
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.completions.create(**COMPLETION)
        seen = await scrape(gateway)
    assert (seen("record_log_writable"), seen("ready")) == (0, 0)
    assert seen("errors_total", subject="record_log") == 1
    assert seen("errors_total", subject="key_store") == 0


async def test_records_wait_until_they_are_synced(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.openai.completions.create(**COMPLETION)
        gateway.clock.advance(7)
        before = await scrape(gateway)
        await gateway.parts.recorder.sync()
        after = await scrape(gateway)
    assert (before("records_unsynced"), before("record_sync_age_seconds")) == (1, 7)
    assert (after("records_unsynced"), after("record_sync_age_seconds")) == (0, 0)
    assert after("record_sync_seconds_count") == 1


def one_process() -> tuple[CollectorRegistry, Metrics]:
    registry = CollectorRegistry()
    return registry, Metrics(registry, {"version": "1"})


def test_the_time_between_tokens_is_that_of_one_choice() -> None:
    registry, metrics = one_process()
    metrics.attempt_ended(AttemptFacts((0, "5A"), "answered", 3, 22, ttft_s=1.0, duration_s=2.0, choices=2))
    metrics.attempt_ended(AttemptFacts((0, "5A"), "answered", 3, 1, ttft_s=1.0, duration_s=2.0, choices=1))
    seen = Scrape(generate_latest(registry).decode())
    assert seen("inter_token_seconds_count") == 1, "one token has nothing between"
    assert seen("inter_token_seconds_sum") == pytest.approx(1.0 / 10)


def test_queues_and_errors_of_others_are_shown() -> None:
    registry, metrics = one_process()
    depth, errors = [3], [2]
    metrics.watch_queue("waiting_room", lambda: depth[0])
    metrics.count_errors("uploads", lambda: errors[0])
    metrics.refresh()
    depth[0], errors[0] = 1, 5
    metrics.refresh()
    seen = Scrape(generate_latest(registry).decode())
    assert (seen("queue_depth", queue="waiting_room"), seen("errors_total", subject="uploads")) == (1, 5)


def test_codes_make_no_endless_series() -> None:
    registry, metrics = one_process()
    for number in range(MOST_CODES + 50):
        metrics.request_refused(400, f"code_{number}")
    metrics.refresh()
    seen = Scrape(generate_latest(registry).decode())
    assert seen("refusals_total", status="400", code="other") == 50


def scope_from(address: str, *headers: str) -> dict[str, Any]:
    return {"client": (address, 1234), "headers": [(name.encode(), b"127.0.0.1") for name in headers]}


@pytest.mark.parametrize(
    ("address", "headers", "allowed"),
    [
        ("127.0.0.1", (), True),
        ("127.8.8.8", (), True),
        ("::1", (), True),
        ("::ffff:127.0.0.1", (), True),
        ("10.1.2.3", (), False),
        ("::ffff:10.1.2.3", (), False),
        ("203.0.113.9", ("x-forwarded-for",), False),
        ("127.0.0.1", ("x-forwarded-for",), False),
        ("::1", ("forwarded",), False),
        ("", (), False),
        ("somewhere", (), False),
    ],
)
def test_metrics_are_for_this_machine_alone_by_default(
    address: str, headers: Sequence[str], allowed: bool
) -> None:
    default = networks("--metrics-allow", GatewayConfig.metrics_allow)
    assert may_read(scope_from(address, *headers), default) is allowed


def test_metrics_are_for_the_networks_that_are_listed() -> None:
    listed = networks("--metrics-allow", ("10.0.0.0/8", "2001:db8::/32"))
    assert may_read(scope_from("10.1.2.3", "x-forwarded-for"), listed)
    assert may_read(scope_from("2001:db8::1"), listed)
    assert not may_read(scope_from("127.0.0.1"), listed)
    assert not may_read(scope_from("11.1.2.3"), listed)


async def test_others_are_told_how_the_operator_lets_them_in(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, metrics_allow=("192.0.2.0/24",)) as gateway:
        status, text = await get(gateway, "/metrics")
    assert status == 403
    assert "--metrics-allow" in text
    assert PREFIX not in text


async def test_a_proxy_on_this_machine_does_not_let_strangers_in(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert (await get(gateway, "/metrics", **{"x-forwarded-for": "203.0.113.9"}))[0] == 403
        assert (await get(gateway, "/metrics", **{"x-forwarded-for": "127.0.0.1"}))[0] == 403


async def test_with_a_port_of_their_own_metrics_are_nowhere_else(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, metrics_port=0) as gateway:
        status, _ = await get(gateway, "/metrics")
    assert status == 404


async def test_metrics_are_only_read(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/metrics") as answer,
    ):
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


WORKER = """
import sys
from prometheus_client import generate_latest
from gateway.exposition import Exposition, shared_folder
from gateway.http_server import ConnectionLimits
from gateway.metrics import Metrics
from gateway.miner_metrics import AttemptFacts
present = {(0, "5A")}
exposition = Exposition(shared_folder(), lambda: present)
metrics = Metrics(exposition.registry, {"version": "1"})
gauge = metrics.gauge("requests_in_flight", "x", "livesum")
gauge.set(2)
for miner in ((0, "5A"), (1, "5B")):
    metrics.attempt_ended(AttemptFacts(miner, "answered", 3, 5, 0.1, 0.5, 1))
metrics.request_ended("/v1/chat/completions", 200, "answered", 0.5)
metrics.miners.flush({(0, "5A"), (1, "5B")})
metrics.refresh()
if len(sys.argv) > 1:
    metrics.miners.flush(present)
    sys.stdout.write(exposition.text().decode())
else:
    print("up", flush=True)
    sys.stdin.read()
"""


def test_several_processes_are_shown_as_one(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-W", "error::UserWarning", "-c", WORKER]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"up\n"
        shown = subprocess.check_output([*command, "show"], env=environment, text=True)
        other.communicate(b"")
    seen = Scrape(shown)
    path = "/v1/chat/completions"
    assert seen("requests_total", path=path, status="200", outcome="answered") == 2
    assert seen("request_duration_seconds_count", path=path) == 2
    assert seen("miner_output_tokens_total", uid="0", hotkey="5A") == 10
    assert seen("requests_in_flight") == 4
    assert "5B" not in shown, "a miner that left"
