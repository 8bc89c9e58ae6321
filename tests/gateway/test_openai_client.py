"""The real OpenAI client against a real gateway and an honest miner."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from shared.canonical import sha256_hex, token_ids_digest
from shared.receipts import Receipt, check_receipt
from tests.gateway.running_gateway import CHAT, COMPLETION, RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL, PROMPT_IDS, WORD_IDS, WORDS

TEXT = "".join(WORDS)


async def test_a_chat_is_answered(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.openai.chat.completions.create(**CHAT)
        assert answer.choices[0].message.content == TEXT
        assert not hasattr(answer, "receipt")


async def test_a_chat_is_streamed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        events = [event async for event in stream]
        assert "".join(event.choices[0].delta.content or "" for event in events) == TEXT
        assert not any(hasattr(event, "receipt") for event in events)


async def test_a_completion_is_answered_and_streamed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.openai.completions.create(**COMPLETION)
        assert answer.choices[0].text == TEXT
        stream = await gateway.openai.completions.create(**COMPLETION, stream=True)
        assert "".join([event.choices[0].text async for event in stream]) == TEXT


def ask_everything(gateway: RunningGateway) -> list[str | None]:
    client = gateway.openai_sync
    stream = client.chat.completions.create(**CHAT, stream=True)
    return [
        client.chat.completions.create(**CHAT).choices[0].message.content,
        "".join(event.choices[0].delta.content or "" for event in stream),
        client.completions.create(**COMPLETION).choices[0].text,
        "".join(event.choices[0].text for event in client.completions.create(**COMPLETION, stream=True)),
    ]


async def test_the_blocking_client_works_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert await asyncio.to_thread(ask_everything, gateway) == [TEXT] * 4


async def test_several_choices_are_told_apart(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        stream = await gateway.openai.chat.completions.create(**CHAT, n=2, stream=True)
        texts = ["", ""]
        async for event in stream:
            for choice in event.choices:
                texts[choice.index] += choice.delta.content or ""
        assert texts == [TEXT, TEXT]
        (record,) = gateway.records()
        assert (record.output_tokens, len(record.choices)) == (8, 2)


async def test_models_are_listed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert [model.id async for model in gateway.openai.models.list()] == [MODEL]
        assert (await gateway.openai.models.retrieve(MODEL)).id == MODEL
        with pytest.raises(openai.NotFoundError) as caught:
            await gateway.openai.models.retrieve("gpt-4")
        assert caught.value.code == "model_not_found"


async def test_the_answer_says_who_gave_it_and_the_record_agrees(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        raw = await gateway.openai.chat.completions.with_raw_response.create(**CHAT)
        (record,) = gateway.records()
        assert raw.headers["x-request-id"] == record.request_id
        assert raw.headers["x-miner-uid"] == str(record.miner_uid) == "0"
        assert raw.headers["x-miner-hotkey"] == record.miner_hotkey == gateway.miners[0].hotkey
        assert raw.parse().id == f"chatcmpl-{record.request_id}"


@pytest.mark.parametrize("stream", [False, True])
async def test_the_record_holds_all_that_an_auditor_needs(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await gateway.openai.chat.completions.create(**CHAT, stream=stream, seed=77)
        if stream:
            async for _ in answer:
                pass
        (record,) = gateway.records()
        receipt = Receipt.model_validate(record.receipt, strict=False)
        check_receipt(receipt)
        assert receipt.request_digest == sha256_hex(record.request_body.encode())
        assert record.request_body.encode() == gateway.miners[0].raw_bodies[0]
        assert receipt.choices[0].prompt_digest == token_ids_digest(record.choices[0].prompt_token_ids)
        assert receipt.choices[0].output_digest == token_ids_digest(record.choices[0].output_token_ids)
        assert (record.outcome, record.error, record.http_status) == ("answered", None, 200)
        assert (record.streamed, record.store, record.path) == (stream, True, "/v1/chat/completions")
        assert (record.prompt_tokens, record.output_tokens) == (len(PROMPT_IDS), len(WORD_IDS))
        assert record.choices[0].finish_reason == "stop"
        assert record.gateway_hotkey == gateway.miners[0].gateway_hotkey


@pytest.mark.parametrize("path", ["chat", "completion"])
async def test_token_ids_are_shown_only_to_who_asks_for_them(tmp_path: Path, path: str) -> None:
    async with running_gateway(tmp_path) as gateway:
        client = gateway.openai
        create: Any = client.chat.completions.create if path == "chat" else client.completions.create
        body = CHAT if path == "chat" else COMPLETION
        plain = (await create(**body)).model_dump_json()
        assert "token_ids" not in plain
        shown = await create(**body, extra_body={"return_token_ids": True})
        assert shown.choices[0].token_ids == WORD_IDS
        assert str(PROMPT_IDS[0]) in shown.model_dump_json()


async def test_the_miner_gets_the_gateways_own_id_and_the_clients_seed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        extra = {"request_id": "chosen-by-me", "vllm_xargs": {"x": 1}, "top_k": 5, "store": False}
        await gateway.openai.chat.completions.create(**CHAT, seed=77, extra_body=extra)
        (body,), (record,) = gateway.miners[0].bodies, gateway.records()
        assert body["request_id"] == record.request_id != "chosen-by-me"
        assert len(body["request_id"]) == 32
        assert (body["seed"], body["top_k"], body["return_token_ids"]) == (77, 5, True)
        assert "vllm_xargs" not in body
        assert record.store is False


async def test_a_request_without_seed_gets_a_fresh_one(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        assert gateway.miners[0].bodies[0]["seed"] == 0, "what the test's random source draws"


async def test_many_requests_at_once_are_kept_apart(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        client = gateway.openai
        answers = await asyncio.gather(*(client.chat.completions.create(**CHAT, seed=n) for n in range(40)))
        assert {answer.id for answer in answers} == {f"chatcmpl-{r.request_id}" for r in gateway.records()}
        assert {body["seed"] for body in gateway.miners[0].bodies} == set(range(40))
        assert gateway.parts.table.get(0).in_flight == 0
