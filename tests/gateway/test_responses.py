"""The real OpenAI client's Responses API against a real gateway; miners get ordinary chats."""

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway.answer_provenance import digest_of
from tests.gateway.calling_miner import CALLS, call_deltas, says, speaks
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL, PROMPT_IDS, WORD_IDS, WORDS, Script, honest
from tests.gateway.test_messages import NONSENSE

TEXT = "".join(WORDS)
ASK: dict[str, Any] = {"model": MODEL, "input": "Who answers?"}
TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks up a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


async def test_a_response_is_answered(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.openai.responses.create(**ASK, metadata={"a": "b"}, temperature=0.5)
        assert response.output_text == TEXT
        assert (response.status, response.model, response.object) == ("completed", MODEL, "response")
        assert (response.metadata, response.temperature) == ({"a": "b"}, 0.5)
        assert response.usage.input_tokens == len(PROMPT_IDS)
        assert response.usage.output_tokens == len(WORD_IDS)
        (record,), (body,) = gateway.records(), gateway.miners[0].bodies
        assert response.id == f"resp_{record.request_id}"
        assert record.path == "/v1/chat/completions"
        assert body["messages"] == [{"role": "user", "content": "Who answers?"}]
        assert "metadata" not in body


async def test_the_synchronous_client_works_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        response = await asyncio.to_thread(gateway.openai_sync.responses.create, **ASK)
        assert response.output_text == TEXT


async def test_a_response_is_streamed_in_openais_events(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        events = await streamed(gateway)
        assert [event.type for event in events] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            *["response.output_text.delta"] * 4,
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert [event.delta for event in events if event.type.endswith("text.delta")] == WORDS
        response = events[-1].response
        assert (response.output_text, response.usage.total_tokens) == (TEXT, len(PROMPT_IDS) + len(WORD_IDS))


async def test_the_clients_stream_helper_puts_the_response_together(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        gateway.openai.responses.stream(**ASK) as stream,
    ):
        response = await stream.get_final_response()
        assert response.output_text == TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_functions_are_called(tmp_path: Path, stream: bool) -> None:
    behaviour = speaks([{"content": "Let me see."}, *call_deltas()], "tool_calls")
    async with running_gateway(tmp_path, behaviour) as gateway:
        response = await ask(gateway, stream, tools=[TOOL], tool_choice="required")
        words, first, second = response.output
        assert words.content[0].text == "Let me see."
        assert (first.type, first.call_id, first.name) == ("function_call", CALLS[0][0], CALLS[0][1])
        assert json.loads(first.arguments) == {"city": "Abidjan"}
        assert (second.call_id, second.name, second.arguments) == (CALLS[1][0], CALLS[1][1], "{}")
        assert {item.status for item in response.output} == {"completed"}
        body = gateway.miners[0].bodies[0]
        assert body["tools"][0]["function"]["parameters"] == TOOL["parameters"]
        assert body["tool_choice"] == "required"


async def test_calls_are_streamed_bit_by_bit(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, speaks(call_deltas(), "tool_calls")) as gateway:
        events = await streamed(gateway, tools=[TOOL])
        deltas = [event.delta for event in events if event.type.endswith("arguments.delta")]
        assert deltas == [piece for _, _, pieces in CALLS for piece in pieces]
        assert [event.type for event in events].count("response.function_call_arguments.done") == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_cut_short_is_incomplete(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path, says("Half a", "length")) as gateway:
        response = await ask(gateway, stream, max_output_tokens=4)
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert response.output[0].status == "incomplete"
        assert gateway.miners[0].bodies[0]["max_tokens"] == 4


async def test_logprobs_come_where_they_are_asked_for(tmp_path: Path) -> None:
    one = {"token": "Hm", "logprob": -0.5, "bytes": [72, 109], "top_logprobs": []}
    async with running_gateway(tmp_path, says("Hm", logprobs={"content": [one]})) as gateway:
        include: Any = ["message.output_text.logprobs"]
        response = await gateway.openai.responses.create(**ASK, include=include, top_logprobs=2)
        assert response.output[0].content[0].logprobs[0].logprob == -0.5
        body = gateway.miners[0].bodies[0]
        assert (body["logprobs"], body["top_logprobs"]) == (True, 2)


async def test_a_wanted_form_reaches_the_miner(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted: Any = {"format": {"type": "json_schema", "name": "thing", "schema": schema, "strict": True}}
    async with running_gateway(tmp_path) as gateway:
        response = await gateway.openai.responses.create(**ASK, text=wanted)
        assert response.text.format.name == "thing"
        asked = gateway.miners[0].bodies[0]["response_format"]
        assert asked == {
            "type": "json_schema",
            "json_schema": {"name": "thing", "schema": schema, "strict": True},
        }


async def test_errors_have_openais_shape(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        with pytest.raises(openai.NotFoundError) as missing:
            await gateway.openai.responses.create(model="gpt-5", input="Hi")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as kept:
            await gateway.openai.responses.create(**ASK, previous_response_id="resp_1")
        assert kept.value.param == "previous_response_id"
        with pytest.raises(openai.NotFoundError):
            await gateway.openai.responses.retrieve("resp_1")


async def test_a_stream_that_breaks_off_ends_as_failed(tmp_path: Path) -> None:
    async def breaks_off(request: web.Request, script: Script) -> web.StreamResponse:
        return await script.stream(request, *script.events[:2])

    async with running_gateway(tmp_path, breaks_off) as gateway:
        last = (await streamed(gateway))[-1]
        assert (last.type, last.response.status) == ("response.failed", "failed")
        assert "[DONE]" in last.response.error.message


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("delta", NONSENSE)
async def test_what_a_failed_miner_said_is_not_in_the_next_ones_answer(
    tmp_path: Path, delta: dict[str, Any], stream: bool
) -> None:
    async def nonsense(request: web.Request, script: Script) -> web.StreamResponse:
        if stream:
            return await script.stream(request, *_events(script, delta))
        (choice,) = script.answer["choices"]
        wrong = {**delta, "content": delta.get("content", "Wrong")}
        return web.json_response(script.answer | {"choices": [choice | {"message": wrong}]})

    async with running_gateway(tmp_path, nonsense, honest) as gateway:
        response = await ask(gateway, stream)
        assert response.output_text == TEXT
        assert len(gateway.miners[1].bodies) == 1
        assert [record.outcome for record in gateway.records()] == ["failed", "answered"]
        assert gateway.parts.table.breaker_states() == {0: "open", 1: "closed"}


def _events(script: Script, delta: dict[str, Any]) -> list[bytes]:
    choice = {"index": 0, "delta": delta, "finish_reason": None, "token_ids": [1]}
    first = {"id": "x", "choices": [choice], "prompt_token_ids": PROMPT_IDS}
    return [b"data: " + json.dumps(first).encode() + b"\n\n", *script.events[-2:]]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_names_its_receipt_where_it_is_asked_to(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path) as gateway:
        response = await ask(gateway, stream, extra_body={"provenance": True})
        (record,) = gateway.records()
        assert response.provenance == {
            "request_id": record.request_id,
            "miner_uid": 0,
            "miner_hotkey": gateway.miners[0].hotkey,
            "receipt_digest": digest_of(record.receipt or {}),
            "receipt": f"/v1/receipts/{record.request_id}",
        }
        assert response.output_text == TEXT
        assert "provenance" not in gateway.miners[0].bodies[0]


async def test_the_clients_stream_helper_and_the_synchronous_client_keep_the_receipts_name(
    tmp_path: Path,
) -> None:
    asked: dict[str, Any] = {"extra_body": {"provenance": True}}
    async with running_gateway(tmp_path) as gateway:
        async with gateway.openai.responses.stream(**ASK, **asked) as stream:
            final: Any = await stream.get_final_response()
        whole: Any = await asyncio.to_thread(gateway.openai_sync.responses.create, **ASK, **asked)

        def in_a_thread() -> list[Any]:
            return list(gateway.openai_sync.responses.create(**ASK, **asked, stream=True))

        *earlier, last = await asyncio.to_thread(in_a_thread)
        for response in (final, whole, last.response):
            assert (response.provenance["miner_uid"], response.output_text) == (0, TEXT)
        assert not any("provenance" in event.model_dump_json() for event in earlier)


@pytest.mark.parametrize("asked", [{}, {"provenance": False}, {"provenance": None}])
async def test_who_does_not_ask_gets_a_response_without_it(tmp_path: Path, asked: dict[str, Any]) -> None:
    async with running_gateway(tmp_path) as gateway:
        for stream in (False, True):
            response = await ask(gateway, stream, extra_body=asked)
            assert "provenance" not in response.model_dump_json()


@pytest.mark.parametrize("stream", [False, True])
async def test_hints_choose_the_miner_of_a_response_and_stay_here(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        await ask(gateway, stream, extra_body={"provider": {"order": [1]}})
        (record,) = gateway.records()
        assert (record.miner_uid, record.steered) == (1, True)
        assert "provider" not in gateway.miners[1].bodies[0]
        with pytest.raises(openai.BadRequestError) as caught:
            await ask(gateway, stream, extra_body={"provider": {"order": 5}})
        assert caught.value.param == "provider.order"


async def streamed(gateway: RunningGateway, **fields: Any) -> list[Any]:
    stream = await gateway.openai.responses.create(**ASK, **fields, stream=True)
    return [event async for event in stream]


async def ask(gateway: RunningGateway, stream: bool, **fields: Any) -> Any:
    """The response, whole or from the last event of its stream."""
    if not stream:
        return await gateway.openai.responses.create(**ASK, **fields)
    return (await streamed(gateway, **fields))[-1].response
