import json
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from localnet.traffic import TrafficCount, chat_requests, send_traffic


def bodies(count: int) -> list[dict[str, Any]]:
    return list(chat_requests("tiny", count, random.Random(0)))


def test_traffic_varies_in_prompt_length_temperature_and_streaming() -> None:
    sent = bodies(30)
    for name in ("messages", "max_tokens", "temperature", "stream"):
        assert len({json.dumps(body[name]) for body in sent}) > 1
    assert all(body["model"] == "tiny" for body in sent)


def test_the_same_seed_sends_the_same_requests() -> None:
    assert bodies(5) == bodies(5)


@pytest.fixture
async def api() -> AsyncIterator[str]:
    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        if body["max_tokens"] == 1:
            return web.json_response({"error": {"message": "no"}}, status=503)
        end = "" if body["max_tokens"] == 2 else "data: [DONE]\n\n"
        return web.Response(text=f"data: {{}}\n\n{end}" if body["stream"] else "{}")

    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def test_whole_answers_are_counted(api: str) -> None:
    seen: list[int] = []
    count = await send_traffic([api], iter(bodies(8)), lambda c: seen.append(c.answered))
    assert (count.answered, count.failed) == (8, 0)
    assert seen[-1] == 8


async def test_several_gateways_are_asked_in_turn(api: str) -> None:
    count = await send_traffic([api, "http://127.0.0.1:9"], iter(bodies(8)), lambda c: None)
    assert (count.answered, count.failed) == (4, 4)


@pytest.mark.parametrize(("max_tokens", "words"), [(1, "HTTP 503"), (2, "broke off")])
async def test_refused_and_broken_answers_are_failures_with_a_reason(
    api: str, max_tokens: int, words: str
) -> None:
    body = bodies(1)[0] | {"max_tokens": max_tokens, "stream": True}
    count = await send_traffic([api], iter([body]), lambda c: None)
    assert (count.answered, count.failed) == (0, 1)
    assert words in count.last_failure


async def test_an_api_that_is_not_there_is_a_failure_not_a_crash() -> None:
    count = await send_traffic(["http://127.0.0.1:9"], iter(bodies(1)), lambda c: None)
    assert isinstance(count, TrafficCount)
    assert count.failed == 1
