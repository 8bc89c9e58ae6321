"""The log of a gateway: one line for each request, and nothing in any line that is secret."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI

from gateway.key_store import KeyStore, keys_url, new_secret, open_key_database
from shared.logs import JSON, TEXT, set_up_logs
from tests.gateway.running_gateway import CHAT, RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL, Script, honest

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture(autouse=True)
def _root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Log:
    """What is logged from now on."""

    def __init__(self, form: str = JSON, level: str = "INFO") -> None:
        self._stream = io.StringIO()
        set_up_logs(level, form, self._stream)

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def access(self) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["logger"] == "gateway.access"]


async def broken(request: web.Request, script: Script) -> web.StreamResponse:
    return web.Response(status=500)


async def test_a_streamed_request_has_one_line_that_says_all(tmp_path: Path) -> None:
    log = Log()
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.openai.chat.completions.with_raw_response.create(
            **CHAT, stream=True, extra_headers={"x-client-request-id": "job 7", "traceparent": TRACE}
        )
        _ = [event async for event in answer.parse()]
        await gateway.idle()
        (record,) = gateway.records()
    (line,) = log.access()
    assert line.pop("time")
    assert line == {
        "level": "INFO",
        "logger": "gateway.access",
        "message": "request",
        "request_id": answer.headers["x-request-id"],
        "client_request_id": "job_7",
        "client": record.client,
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "answered",
        "miner_uid": 0,
        "miner_hotkey": gateway.miners[0].hotkey,
        "attempts": 1,
        "ttft_ms": 0.0,
        "duration_ms": 0.0,
        "prompt_tokens": 3,
        "output_tokens": 4,
        "traceparent": TRACE,
    }


async def test_the_id_is_the_miners_the_clients_and_the_records(tmp_path: Path) -> None:
    log = Log()
    async with running_gateway(tmp_path, broken, honest) as gateway:
        answer = await gateway.openai.chat.completions.with_raw_response.create(**CHAT)
        await gateway.idle()
        first, second = gateway.records()
        asked = [miner.bodies[0]["request_id"] for miner in gateway.miners]
    (line,) = log.access()
    assert asked == [first.request_id, second.request_id] == [line["client_request"], line["request_id"]]
    assert answer.headers["x-request-id"] == line["request_id"]
    assert (line["attempts"], line["miner_uid"]) == (2, 1)


async def test_a_refused_request_has_an_id_and_a_reason(tmp_path: Path) -> None:
    log = Log()
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(openai.NotFoundError) as caught:
            await gateway.openai.chat.completions.create(**{**CHAT, "model": "other"})
        await gateway.idle()
    (line,) = log.access()
    assert caught.value.request_id == line["request_id"]
    assert (line["status"], line["outcome"], line["code"]) == (404, "refused", "model_not_found")
    assert "attempts" not in line


async def test_what_machines_ask_every_second_is_not_logged(tmp_path: Path) -> None:
    log = Log()
    async with running_gateway(tmp_path) as gateway, aiohttp.ClientSession() as session:
        for path in ("/health", "/ready", "/metrics", "/v1/models"):
            async with session.get(gateway.url + path) as answer:
                assert answer.status == 200
        await gateway.idle()
    assert [line["path"] for line in log.access()] == ["/v1/models"]


async def test_a_line_that_is_logged_on_behalf_of_a_request_names_it(tmp_path: Path) -> None:
    class FullDisk:
        """A record log that takes nothing."""

        def append(self, record: object) -> None:
            raise OSError("no space left")

        sync = check_room = close = lambda self: None

    log = Log()
    async with running_gateway(tmp_path, records=FullDisk()) as gateway:
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.chat.completions.create(**CHAT)
        await gateway.idle()
        (asked,) = gateway.miners[0].bodies
    (complaint,) = [line for line in log.lines() if line["logger"] == "gateway.recording"]
    assert complaint["request_id"] == asked["request_id"] == log.access()[0]["request_id"]


def make_key(tmp_path: Path) -> str:
    database = open_key_database(keys_url(None, tmp_path / "state"))
    secret = new_secret()
    KeyStore(database).create(secret, "alice-the-customer", 1)
    database.close()
    return secret


async def visits(gateway: RunningGateway, secret: str) -> None:
    """Requests of every kind, each with something in it that must not be logged."""
    client = AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0)
    asks: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "my-private-prompt"}],
        "user": "my-private-user",
        "extra_headers": {"x-forwarded-for": "203.0.113.77", "baggage": "user=my-private-baggage"},
    }
    await client.chat.completions.create(**asks)
    stream = await client.chat.completions.create(**asks, stream=True)
    _ = [event async for event in stream]
    with pytest.raises(openai.APIStatusError):
        await client.chat.completions.create(**{**asks, "model": "my-private-model"})
    with pytest.raises(openai.AuthenticationError):
        await client.with_options(api_key="cst_my-wrong-key").chat.completions.create(**asks)
    async with aiohttp.ClientSession() as session:
        for path in (f"/v1/{secret}", f"/v1/models/{secret}", "/health"):
            async with session.get(gateway.url + path, headers={"x-forwarded-for": "203.0.113.77"}):
                pass
        async with session.post(f"{gateway.url}/v1/completions", data=b"{my-private-prompt"):
            pass
    await gateway.idle()


@pytest.mark.parametrize("form", [TEXT, JSON])
async def test_no_key_prompt_answer_address_or_signature_is_ever_logged(tmp_path: Path, form: str) -> None:
    signed: list[str] = []

    async def fails_and_tells(request: web.Request, script: Script) -> web.StreamResponse:
        signed.extend(value for name, value in request.headers.items() if "signature" in name.lower())
        return web.json_response({"error": {"message": json.dumps(script.body)}}, status=500)

    async def answers(request: web.Request, script: Script) -> web.StreamResponse:
        signed.extend(value for name, value in request.headers.items() if "signature" in name.lower())
        return await honest(request, script)

    log, secret = Log(form, "DEBUG"), make_key(tmp_path)
    async with running_gateway(tmp_path, fails_and_tells, answers) as gateway:
        await visits(gateway, secret)
        receipts = [record.receipt["signature"] for record in gateway.records() if record.receipt]
        records = gateway.records()
    assert log.text.count("gateway.access") == 8
    assert records[0].error is not None
    assert "my-private-prompt" in records[0].error, "the miner did tell it"
    assert signed
    assert receipts
    private = ["my-private", "cst_", "alice-the-customer", "203.0.113.77", "honestly", *signed, *receipts]
    assert [word for word in private if word in log.text] == []


async def test_a_client_is_named_by_the_pseudonym_of_its_records(tmp_path: Path) -> None:
    log, secret = Log(), make_key(tmp_path)
    async with running_gateway(tmp_path) as gateway:
        client = AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0)
        await asyncio.gather(
            client.chat.completions.create(**CHAT), gateway.openai.chat.completions.create(**CHAT)
        )
        await gateway.idle()
        named = {record.request_id: record.client for record in gateway.records()}
    assert {line["request_id"]: line["client"] for line in log.access()} == named
    assert len(set(named.values())) == 2
