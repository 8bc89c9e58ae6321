"""Tokens for clients, as vLLM and Anthropic give them, and the model's card."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from shared.text_tokenizer import TextTokenizer
from tests.gateway.calling_miner import anthropic_client
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL
from tests.models import demo_model

USER = {"role": "user", "content": "Who answers?"}


@asynccontextmanager
async def tokenizing(tmp_path: Path, **more: Any) -> AsyncIterator[RunningGateway]:
    settings: dict[str, Any] = {"model": str(demo_model()), "served_model_name": MODEL} | more
    async with running_gateway(tmp_path, **settings) as gateway:
        await gateway.parts.tokens.load()
        yield gateway


async def post(gateway: RunningGateway, path: str, body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        return await http.post(path, content=json.dumps(body))


async def test_a_text_becomes_token_ids_and_comes_back(tmp_path: Path) -> None:
    async with tokenizing(tmp_path) as gateway:
        tokens = (await post(gateway, "/tokenize", {"model": MODEL, "prompt": "Zażółć 🌍"})).json()
        assert tokens["tokens"] == TextTokenizer.load(demo_model())("Zażółć 🌍")["input_ids"]
        assert (tokens["count"], tokens["max_model_len"]) == (len(tokens["tokens"]), 8192)
        assert tokens["token_strs"] is None
        text = (await post(gateway, "/detokenize", {"tokens": tokens["tokens"]})).json()
        assert text == {"prompt": "Zażółć 🌍"}


async def test_a_chat_has_the_tokens_of_its_template(tmp_path: Path) -> None:
    async with tokenizing(tmp_path) as gateway:
        asked = {"messages": [USER], "return_token_strs": True}
        chat = (await post(gateway, "/tokenize", asked)).json()
        assert chat["token_strs"][0] == "<|im_start|>"
        assert len(chat["token_strs"]) == chat["count"]
        bare = (await post(gateway, "/tokenize", {"messages": [USER], "add_generation_prompt": False})).json()
        assert 0 < bare["count"] < chat["count"]
        said = {"role": "assistant", "content": "Min"}
        going_on = {"messages": [USER, said], "continue_final_message": True}
        assert (await post(gateway, "/tokenize", going_on)).json()["count"] > chat["count"]


async def test_anthropics_client_counts_tokens(tmp_path: Path) -> None:
    async with tokenizing(tmp_path) as gateway:
        chat = (await post(gateway, "/tokenize", {"messages": [USER]})).json()
        count = anthropic_client(gateway).messages.count_tokens
        assert (await count(model=MODEL, messages=[USER])).input_tokens == chat["count"]
        assert (await count(model=MODEL, messages=[USER], system="Be brief.")).input_tokens != chat["count"]
        with pytest.raises(anthropic.BadRequestError) as caught:
            await count(model=MODEL, messages=[])
        error: Any = caught.value.body
        assert error["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a", "add_special_tokens": "yes"}, "add_special_tokens"),
        ("/tokenize", {"messages": "x"}, "messages"),
        ("/tokenize", {"messages": [USER], "chat_template": "{{ 1 }}"}, "chat_template"),
        ("/tokenize", {"messages": [USER], "chat_template_kwargs": {"tokenize": True}}, None),
        (
            "/tokenize",
            {"messages": [USER], "add_generation_prompt": True, "continue_final_message": True},
            None,
        ),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [10**9]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
    ],
)
async def test_mistakes_are_400(tmp_path: Path, path: str, body: dict[str, Any], param: str | None) -> None:
    async with tokenizing(tmp_path) as gateway:
        answer = await post(gateway, path, body)
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", param)


async def test_another_model_is_404(tmp_path: Path) -> None:
    async with tokenizing(tmp_path) as gateway:
        answer = await post(gateway, "/tokenize", {"model": "gpt-4", "prompt": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")


async def test_without_a_tokenizer_it_says_so(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, "/tokenize", {"prompt": "a"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "tokenizer_unavailable")
        assert "still being loaded" in answer.json()["error"]["message"]


async def test_counting_takes_a_request_of_the_clients_limit(tmp_path: Path) -> None:
    async with tokenizing(tmp_path, anonymous_requests_per_minute=1) as gateway:
        first = await post(gateway, "/tokenize", {"prompt": "a"})
        assert first.headers["x-ratelimit-remaining-requests"] == "0"
        assert (await post(gateway, "/tokenize", {"prompt": "a"})).status_code == 429


async def test_the_models_card_serves_all_three_kinds_of_clients(tmp_path: Path) -> None:
    async with tokenizing(tmp_path, max_model_len=4096) as gateway:
        (card,) = (await gateway.openai.models.list()).data
        assert (card.id, card.object, card.max_model_len) == (MODEL, "model", 4096)
        assert (await gateway.openai.models.retrieve(MODEL)).id == MODEL
        page = await anthropic_client(gateway).models.list()
        assert [(one.id, one.type, one.display_name) for one in page.data] == [(MODEL, "model", MODEL)]


async def test_the_root_says_what_this_is(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, httpx.AsyncClient(base_url=gateway.url) as http:
        about = (await http.get("/")).json()
        assert about["model"] == MODEL
        document = (await http.get(about["openapi"])).json()
        assert "/v1/chat/completions" in document["paths"]
