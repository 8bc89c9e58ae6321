"""Prompts that can't fit are refused with OpenAI's code before a miner sees them; all others reach one."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest
from aiohttp import web

from gateway.client_request import client_request
from gateway.context_check import TEMPLATE_TOKENS, ContextCheck
from gateway.prompt_tokens import PromptTokens
from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.prompt_rendering import PromptRenderer
from shared.text_tokenizer import TextTokenizer
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL, Behaviour, Script, honest

CONTEXT = 600
LONG = "A lighthouse keeper writes down the weather. " * 80


@asynccontextmanager
async def counting_gateway(
    tmp_path: Path, folder: Path, *behaviours: Behaviour
) -> AsyncIterator[RunningGateway]:
    """A gateway that has loaded the tokenizer in `folder`."""
    settings: dict[str, Any] = {"model": str(folder), "max_model_len": CONTEXT, "served_model_name": MODEL}
    async with running_gateway(tmp_path, *behaviours or (honest,), **settings) as gateway:
        await gateway.parts.tokens.load()
        yield gateway


def chat(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **fields}


async def test_a_chat_that_is_too_long_is_refused_with_openais_code(
    tmp_path: Path, demo_model_folder: Path
) -> None:
    async with counting_gateway(tmp_path, demo_model_folder) as gateway:
        with pytest.raises(openai.BadRequestError) as caught:
            await gateway.openai.chat.completions.create(**chat(LONG))
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "messages")
        renderer = PromptRenderer(TextTokenizer.load(demo_model_folder))
        [prompt] = renderer.prompts(CHAT_PATH, json.dumps(chat(LONG)))
        assert f"({len(prompt)} in the messages" in caught.value.message
        assert f"fewer than {CONTEXT} tokens" in caught.value.message
        assert gateway.miners[0].bodies == []


async def test_what_fits_is_said_when_only_the_output_is_too_much(
    tmp_path: Path, demo_model_folder: Path
) -> None:
    async with counting_gateway(tmp_path, demo_model_folder) as gateway:
        with pytest.raises(openai.BadRequestError) as caught:
            await gateway.openai.chat.completions.create(**chat("Hello", max_tokens=CONTEXT))
        fits = int(caught.value.message.split("at most ")[1].split(",")[0])
        assert 0 < fits < CONTEXT
        await gateway.openai.chat.completions.create(**chat("Hello", max_tokens=fits))
        with pytest.raises(openai.BadRequestError, match=f"at most {fits}"):
            await gateway.openai.chat.completions.create(**chat("Hello", max_tokens=fits + 1))


async def test_each_prompt_of_a_completion_counts_for_itself(tmp_path: Path, demo_model_folder: Path) -> None:
    async with counting_gateway(tmp_path, demo_model_folder) as gateway:
        create = gateway.openai.completions.create
        await create(model=MODEL, prompt=["a" * 300, "b" * 300])
        with pytest.raises(openai.BadRequestError) as caught:
            await create(model=MODEL, prompt=["short", LONG])
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
        with pytest.raises(openai.BadRequestError):
            await create(model=MODEL, prompt=[7] * CONTEXT)
        await create(model=MODEL, prompt=[7] * (CONTEXT - 1))


@pytest.mark.parametrize(
    "fields",
    [
        {"truncate_prompt_tokens": 5},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": LONG}}]}]},
    ],
)
async def test_what_can_not_be_counted_is_left_to_the_miner(
    tmp_path: Path, demo_model_folder: Path, fields: dict[str, Any]
) -> None:
    async with counting_gateway(tmp_path, demo_model_folder) as gateway:
        body: dict[str, Any] = chat(LONG) | fields
        messages = body.pop("messages")
        await gateway.openai.chat.completions.create(messages=messages, model=MODEL, extra_body=body)
        assert len(gateway.miners[0].bodies) == 1


async def test_a_miners_word_that_a_prompt_is_too_long_gets_openais_code(tmp_path: Path) -> None:
    async def refuses(request: web.Request, script: Script) -> web.StreamResponse:
        message = "This model's maximum context length is 64 tokens. However, your prompt has 99 tokens"
        error = {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
        return web.json_response({"error": error}, status=400)

    async with running_gateway(tmp_path, refuses) as gateway:
        with pytest.raises(openai.BadRequestError) as caught:
            await gateway.openai.chat.completions.create(**chat("Hello"))
        error: Any = caught.value.body
        assert (error["type"], error["code"]) == ("invalid_request_error", "context_length_exceeded")
        assert error["param"] == "input_tokens"


async def test_without_a_tokenizer_everything_reaches_a_miner_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_gateway(tmp_path, model=str(tmp_path), served_model_name=MODEL) as gateway:
        with caplog.at_level(logging.WARNING):
            await gateway.parts.tokens.load()
        assert "/tokenize is not served" in caplog.text
        await gateway.openai.chat.completions.create(**chat(LONG))
        assert len(gateway.miners[0].bodies) == 1


async def test_only_what_could_be_too_long_is_counted(demo_model_folder: Path) -> None:
    tokens = PromptTokens(str(demo_model_folder), None)
    check = ContextCheck(tokens)
    short = client_request(CHAT_PATH, chat("Hello"), MODEL)
    long_output = client_request(CHAT_PATH, chat("Hello", max_tokens=8000), MODEL)
    assert not check.is_needed(short, 100_000), "nothing is known before the tokenizer is loaded"
    await tokens.load()
    assert tokens.context == 8192
    assert not check.is_needed(short, 7000)
    assert check.is_needed(short, 8000)
    assert check.is_needed(long_output, 100)
    tokens.close()


@pytest.mark.parametrize("turns", [1, 40])
@pytest.mark.parametrize("text", ["", "a", "\n", "\x00", "é", "🏳️‍🌈", '"', "\u0344"])
def test_no_prompt_has_more_tokens_than_its_body_has_bytes(
    demo_model_folder: Path, text: str, turns: int
) -> None:
    renderer = PromptRenderer(TextTokenizer.load(demo_model_folder))
    messages = [{"role": "user", "content": text * 50}, {"role": "assistant", "content": text}] * turns
    for path, fields in ((CHAT_PATH, {"messages": messages}), (COMPLETIONS_PATH, {"prompt": text * 50})):
        body = orjson.dumps(fields)
        [prompt] = renderer.prompts(path, body.decode())
        assert len(prompt) <= len(body) + TEMPLATE_TOKENS
