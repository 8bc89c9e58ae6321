"""Miners that lie, hang, reset, drip, flood or send garbage: the client is told, the record says why."""

import asyncio
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway.event_stream import MAX_EVENT_BYTES
from gateway.miners import Endpoint
from shared.records import RequestRecord
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway, running_gateway
from tests.gateway.scripted_miner import WORDS, Behaviour, Script, event, open_stream

NEVER = asyncio.Event
"""An event that nobody sets: waiting for it is a miner that hangs."""


def streams(change: Callable[[list[bytes]], list[bytes]]) -> Behaviour:
    """A miner that sends a changed list of events and then ends its answer."""

    async def behave(request: web.Request, script: Script) -> web.StreamResponse:
        return await script.stream(request, *change(script.events))

    return behave


def answers(change: Callable[[dict[str, Any]], Any]) -> Behaviour:
    """A miner whose whole answer is changed."""

    async def behave(request: web.Request, script: Script) -> web.StreamResponse:
        changed = change(script.answer)
        body = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        return web.Response(body=body, content_type="application/json")

    return behave


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in names}


async def reset(request: web.Request, script: Script) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def reset_in_the_middle(request: web.Request, script: Script) -> web.StreamResponse:
    response = await script.stream(request, *script.events[:3])
    assert request.transport is not None
    request.transport.abort()
    return response


async def hang_before_anything(request: web.Request, script: Script) -> web.StreamResponse:
    await NEVER().wait()
    return web.Response()


async def hang_after_headers(request: web.Request, script: Script) -> web.StreamResponse:
    response = await open_stream(request)
    await NEVER().wait()
    return response


async def hang_in_the_middle(request: web.Request, script: Script) -> web.StreamResponse:
    response = await script.stream(request, b"".join(script.events[:3]))
    await NEVER().wait()
    return response


async def drip(request: web.Request, script: Script) -> web.StreamResponse:
    """Bytes keep coming, an event never does."""
    response = await script.stream(request, b"".join(script.events[:3]))
    while True:
        await response.write(b":")
        await asyncio.sleep(0)


async def drip_comments(request: web.Request, script: Script) -> web.StreamResponse:
    response = await script.stream(request, b"".join(script.events[:3]))
    while True:
        await response.write(b": still here\n\n")
        await asyncio.sleep(0)


async def stream_for_ever(request: web.Request, script: Script) -> web.StreamResponse:
    response = await script.stream(request, script.events[0])
    while True:
        await response.write(script.events[1])
        await asyncio.sleep(0)


async def text_instead_of_stream(request: web.Request, script: Script) -> web.StreamResponse:
    return web.Response(text="hello", content_type="text/plain")


async def redirect(request: web.Request, script: Script) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://169.254.169.254/latest/meta-data")


async def compressed_bomb(request: web.Request, script: Script) -> web.StreamResponse:
    response = web.Response(body=json.dumps(script.answer).encode(), content_type="application/json")
    response.enable_compression(web.ContentCoding.gzip)
    return response


async def fail_with_500(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "CUDA out of memory"}}, status=500)


async def refuse_signature(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "who are you"}}, status=401)


async def failed_stream(gateway: RunningGateway) -> tuple[str, openai.APIError]:
    """What the client got of a chat's text, and the error with which it ended."""
    text = ""
    try:
        async for chunk in await gateway.openai.chat.completions.create(**CHAT, stream=True):
            text += chunk.choices[0].delta.content or ""
    except openai.APIError as error:
        return text, error
    pytest.fail("the stream ended without an error")


def the_failure(gateway: RunningGateway) -> RequestRecord:
    (record,) = gateway.records()
    assert record.outcome == "failed"
    assert gateway.parts.table.get(0).in_flight == 0
    return record


GARBAGE = b"data: {not json}\n\n"
LARGE = b"data: " + b"x" * (MAX_EVENT_BYTES + 1) + b"\n\n"
BAD_IDS = event({"choices": [{"index": 0, "delta": {"content": "!"}, "token_ids": [-4]}]})


@pytest.mark.parametrize(
    ("behaviour", "text", "reason"),
    [
        (streams(lambda e: [*e[:-2], e[-1]]), "".join(WORDS), "no receipt"),
        (streams(lambda e: e[:-1]), "".join(WORDS), r"without \[DONE\]"),
        (streams(lambda e: e[:3]), "Miners answer", r"without \[DONE\]"),
        (streams(lambda e: [*e[:3], GARBAGE, *e[3:]]), "Miners answer", "not JSON"),
        (streams(lambda e: [b"".join(e[:3]) + GARBAGE]), "Miners answer", "not JSON"),
        (streams(lambda e: [*e[:3], b"data: 5\n\n"]), "Miners answer", "not an object"),
        (streams(lambda e: [*e[:3], b'data: {"choices": 1}\n\n']), "Miners answer", "no list of choices"),
        (streams(lambda e: [*e[:3], BAD_IDS]), "Miners answer!", "token ids"),
        (streams(lambda e: [*e[:3], LARGE]), "Miners answer", "more than"),
        (streams(lambda e: [*e[:3], event({"error": {"message": "boom"}})]), "Miners answer", "boom"),
        (
            streams(lambda e: [*e[:-2], event({"choices": [], "receipt": 5}), e[-1]]),
            "".join(WORDS),
            "receipt",
        ),
        (streams(lambda e: [*e[:-1], e[1], e[-1]]), "".join(WORDS), "after the receipt"),
        (streams(lambda e: [*e[:-2], e[-2], e[-2], e[-1]]), "".join(WORDS), "after the receipt"),
        (reset_in_the_middle, "Miners answer", "connection broke"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_broken_stream_delivers_what_was_valid_and_ends_in_an_error(
    tmp_path: Path, behaviour: Behaviour, text: str, reason: str
) -> None:
    async with running_gateway(tmp_path, behaviour) as gateway:
        got, error = await failed_stream(gateway)
        record = the_failure(gateway)
        assert got == text
        assert error.code == "miner_failed"
        assert re.search(reason, str(record.error))
        assert record.http_status == 200
        assert record.output_tokens == sum(word in text for word in WORDS)


@pytest.mark.parametrize(
    ("behaviour", "text"),
    [(hang_in_the_middle, "Miners answer"), (drip, "Miners answer"), (drip_comments, "Miners answer")],
)
async def test_a_stream_without_new_events_is_ended(tmp_path: Path, behaviour: Behaviour, text: str) -> None:
    async with running_gateway(tmp_path, behaviour, idle_timeout_s=0.1) as gateway:
        got, _ = await failed_stream(gateway)
        assert got == text
        assert "silent" in str(the_failure(gateway).error)
        async with asyncio.timeout(HANG_S):
            await gateway.miners[0].cancelled.wait()


async def test_a_stream_without_end_is_ended(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, stream_for_ever, answer_timeout_s=1.0) as gateway:
        got, _ = await failed_stream(gateway)
        assert got.startswith("Miners")
        assert the_failure(gateway).output_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("behaviour", "reason", "status"),
    [
        (reset, "connection broke", None),
        (hang_before_anything, "silent", None),
        (fail_with_500, "CUDA out of memory", 500),
        (refuse_signature, "HTTP 401", 401),
        (redirect, "HTTP 307", 307),
        (text_instead_of_stream, "", 200),
    ],
)
async def test_a_miner_that_gives_nothing_is_502(
    tmp_path: Path, behaviour: Behaviour, reason: str, status: int | None, stream: bool
) -> None:
    hangs = behaviour is hang_before_anything
    bounds: dict[str, Any] = {"first_byte_timeout_s": 0.2, "answer_timeout_s": 0.2} if hangs else {}
    async with running_gateway(tmp_path, behaviour, **bounds) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT, stream=stream)
        record = the_failure(gateway)
        assert (caught.value.status_code, caught.value.code) == (502, "miner_failed")
        assert caught.value.response.headers["x-request-id"] == record.request_id
        assert reason in str(record.error)
        assert record.http_status == status
        assert record.receipt is None


async def test_a_stream_that_only_opens_is_502(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, hang_after_headers, first_byte_timeout_s=0.2) as gateway:
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.chat.completions.create(**CHAT, stream=True)
        assert "silent" in str(the_failure(gateway).error)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: without(a, "receipt"), "no receipt"),
        (lambda a: a | {"receipt": "mine"}, "receipt"),
        (lambda a: b"{", "not JSON"),
        (lambda a: b"", "not JSON"),
        (lambda a: [a], "not an object"),
        (lambda a: without(a, "choices"), "no list of choices"),
        (lambda a: a | {"choices": []}, "no choices"),
        (lambda a: without(a, "prompt_token_ids"), "prompt_token_ids"),
        (lambda a: a | {"choices": [without(a["choices"][0], "token_ids")]}, "no token_ids"),
        (lambda a: a | {"choices": [a["choices"][0] | {"index": 1 << 40}]}, "index"),
    ],
)
async def test_a_broken_answer_is_502(tmp_path: Path, change: Callable[[Any], Any], reason: str) -> None:
    async with running_gateway(tmp_path, answers(change)) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT)
        assert caught.value.status_code == 502
        assert reason in str(the_failure(gateway).error)


async def test_compressed_answers_are_not_unpacked(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, compressed_bomb) as gateway:
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.chat.completions.create(**CHAT)
        assert "not JSON" in str(the_failure(gateway).error)


async def test_nothing_listens_at_the_miners_address(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.parts.table.get(0).endpoint = Endpoint("http://127.0.0.1:1")
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.chat.completions.create(**CHAT)
        assert "refuses connections" in str(the_failure(gateway).error)


async def test_the_reason_names_no_address(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, reset) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT)
        assert "127.0.0.1" not in caught.value.message
        assert "Traceback" not in caught.value.message
