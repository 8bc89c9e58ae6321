"""Whatever a client does wrong, it gets an answer in the shape of OpenAI's API, and never a 500."""

import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from tests.gateway.running_gateway import CHAT, RunningGateway, running_gateway

MAX_BODY = 4096


async def ask(
    gateway: RunningGateway, path: str, data: Any = None, method: str = "POST"
) -> tuple[int, dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, gateway.url + path, data=data) as answer,
    ):
        assert answer.content_type == "application/json"
        return answer.status, (await answer.json())["error"]


async def test_mistakes_in_the_body_are_400(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        for body in [b"", b"{", b"[1]", b"{}", b'{"messages": 5}', b"[" * 3000, b"\xff"]:
            for path in (CHAT_PATH, COMPLETIONS_PATH):
                status, error = await ask(gateway, path, body)
                assert status == 400
                assert error["type"] == "invalid_request_error"
                assert set(error) == {"message", "type", "param", "code"}
        assert gateway.miners[0].bodies == []
        assert gateway.records() == []


async def test_the_openai_client_raises_its_own_exceptions(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(openai.NotFoundError) as caught:
            await gateway.openai.chat.completions.create(**{**CHAT, "model": "gpt-4"})
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        with pytest.raises(openai.BadRequestError):
            await gateway.openai.chat.completions.create(**{**CHAT, "messages": []})


async def test_a_body_that_says_it_is_too_large_is_413(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, max_body_bytes=MAX_BODY) as gateway:
        status, error = await ask(gateway, CHAT_PATH, b"x" * (MAX_BODY + 1))
        assert (status, error["code"]) == (413, "request_too_large")
        assert str(MAX_BODY) in error["message"]


async def test_a_body_that_turns_out_too_large_is_413(tmp_path: Path) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b"x" * 1024

    async with running_gateway(tmp_path, max_body_bytes=MAX_BODY) as gateway:
        status, _ = await ask(gateway, CHAT_PATH, chunks())
        assert status == 413


async def test_a_body_of_just_the_allowed_size_is_read(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, max_body_bytes=MAX_BODY) as gateway:
        status, _ = await ask(gateway, CHAT_PATH, b"x" * MAX_BODY)
        assert status == 400


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", CHAT_PATH, 405, "method_not_allowed"),
        ("DELETE", COMPLETIONS_PATH, 405, "method_not_allowed"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/v1", 404, "not_found"),
        ("POST", "/v1/embeddings", 400, "unsupported_model"),
        ("GET", "/v1/messages", 405, "method_not_allowed"),
        ("GET", "/v1/responses", 405, "method_not_allowed"),
        ("GET", "/tokenize", 405, "method_not_allowed"),
        ("GET", "/v1/responses/resp_1", 404, "not_found"),
        ("GET", "/docs", 404, "not_found"),
        ("GET", "/v1/models/", 404, "model_not_found"),
        ("GET", "/v1/models/a/b/c", 404, "model_not_found"),
        ("POST", "/v1/chat/completions/", 404, "not_found"),
    ],
)
async def test_a_wrong_address_or_method_is_told(
    tmp_path: Path, method: str, path: str, status: int, code: str
) -> None:
    async with running_gateway(tmp_path) as gateway:
        answered, error = await ask(gateway, path, method=method)
        assert (answered, error["type"]) == (status, "invalid_request_error")
        assert path.startswith("/v1/messages") or error["code"] == code


async def test_the_gateway_goes_on_after_every_mistake(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, max_body_bytes=MAX_BODY) as gateway:
        async with aiohttp.ClientSession() as session:
            for body in [b"{", b"x" * (MAX_BODY + 1), json.dumps(CHAT).encode()]:
                async with session.post(gateway.url + CHAT_PATH, data=body) as answer:
                    await answer.read()
        assert answer.status == 200
