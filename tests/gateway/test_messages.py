"""The real Anthropic client against a real gateway; miners get ordinary chats."""

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import pytest
from aiohttp import web

from gateway.answer_provenance import digest_of
from gateway.event_stream import EventSplitter
from shared.canonical import sha256_hex
from tests.gateway.calling_miner import (
    CALLS,
    anthropic_client,
    anthropic_client_sync,
    call_deltas,
    says,
    speaks,
)
from tests.gateway.running_gateway import RunningGateway, running_gateway
from tests.gateway.scripted_miner import MODEL, PROMPT_IDS, WORD_IDS, WORDS, Script, honest

TEXT = "".join(WORDS)
ASK: dict[str, Any] = {
    "model": MODEL,
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "Who answers?"}],
}
TOOL = {
    "name": "look_up",
    "description": "Looks up a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}


async def test_a_message_is_answered(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        message = await anthropic_client(gateway).messages.create(**ASK)
        assert [(block.type, block.text) for block in message.content] == [("text", TEXT)]
        assert (message.role, message.type, message.model) == ("assistant", "message", MODEL)
        assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
        assert (message.usage.input_tokens, message.usage.output_tokens) == (len(PROMPT_IDS), len(WORD_IDS))
        (record,) = gateway.records()
        assert message.id == f"msg_{record.request_id}"
        assert message._request_id == record.request_id


async def test_the_record_is_that_of_an_ordinary_chat(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await anthropic_client(gateway).messages.create(**ASK)
        (record,), (body,) = gateway.records(), gateway.miners[0].bodies
        assert (record.path, record.outcome) == ("/v1/chat/completions", "answered")
        assert json.loads(record.request_body) == body
        assert body["messages"] == ASK["messages"]
        assert body["max_tokens"] == 50
        assert record.choices[0].text_sha256 == sha256_hex(TEXT.encode())


async def test_the_synchronous_client_works_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        client = anthropic_client_sync(gateway)
        message = await asyncio.to_thread(client.messages.create, **ASK)
        assert message.content[0].text == TEXT

        def streamed() -> str:
            with client.messages.stream(**ASK) as stream:
                return str(stream.get_final_text())

        assert await asyncio.to_thread(streamed) == TEXT


async def test_a_message_is_streamed_in_anthropics_events(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        events = await raw_events(gateway, ASK)
        assert [kind for kind, _ in events] == [
            "message_start",
            "content_block_start",
            "ping",
            *["content_block_delta"] * 4,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        assert all(data["type"] == kind for kind, data in events)
        assert events[0][1]["message"]["usage"]["input_tokens"] == len(PROMPT_IDS)
        assert [data["delta"]["text"] for kind, data in events if kind == "content_block_delta"] == WORDS
        assert events[-2][1]["usage"]["output_tokens"] == len(WORD_IDS)


async def test_the_clients_stream_helper_puts_the_message_together(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        async with anthropic_client(gateway).messages.stream(**ASK) as stream:
            assert [text async for text in stream.text_stream] == WORDS
            message = await stream.get_final_message()
        assert message.stop_reason == "end_turn"
        assert message.usage.output_tokens == len(WORD_IDS)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_are_called_with_their_input(tmp_path: Path, stream: bool) -> None:
    behaviour = speaks([{"content": "Let me see."}, *call_deltas()], "tool_calls")
    async with running_gateway(tmp_path, behaviour) as gateway:
        message = await ask(gateway, stream, tools=[TOOL, {**TOOL, "name": "now"}])
        text, first, second = message.content
        assert text.text == "Let me see."
        assert (first.type, first.id, first.name, first.input) == (
            "tool_use",
            CALLS[0][0],
            CALLS[0][1],
            {"city": "Abidjan"},
        )
        assert (second.id, second.name, second.input) == (CALLS[1][0], CALLS[1][1], {})
        assert message.stop_reason == "tool_use"
        function = gateway.miners[0].bodies[0]["tools"][0]["function"]
        assert function == {
            "name": "look_up",
            "description": "Looks up a city",
            "parameters": TOOL["input_schema"],
        }


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("finish_reason", "fields", "expected"),
    [
        ("stop", {}, ("end_turn", None)),
        ("stop", {"stop_reason": "###"}, ("stop_sequence", "###")),
        ("stop", {"stop_reason": 2}, ("end_turn", None)),
        ("length", {}, ("max_tokens", None)),
    ],
)
async def test_the_reason_why_an_answer_ends_is_translated(
    tmp_path: Path, stream: bool, finish_reason: str, fields: dict[str, Any], expected: tuple[str, Any]
) -> None:
    async with running_gateway(tmp_path, says("Hm", finish_reason, **fields)) as gateway:
        message = await ask(gateway, stream)
        assert (message.stop_reason, message.stop_sequence) == expected


@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_tool_ends_as_a_call(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path, speaks(call_deltas(), "stop")) as gateway:
        message = await ask(gateway, stream, tools=[TOOL], tool_choice={"type": "tool", "name": "look_up"})
        assert message.stop_reason == "tool_use"
        chosen = gateway.miners[0].bodies[0]["tool_choice"]
        assert chosen == {"type": "function", "function": {"name": "look_up"}}


async def test_a_call_that_was_cut_short_has_an_empty_input(tmp_path: Path) -> None:
    deltas = call_deltas([("call-1", "look_up", ['{"city": "Abi'])])
    async with running_gateway(tmp_path, speaks(deltas, "length")) as gateway:
        message = await ask(gateway, False, tools=[TOOL])
        assert (message.content[0].input, message.stop_reason) == ({}, "max_tokens")


async def test_an_empty_answer_is_a_message_without_blocks(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, says("")) as gateway:
        for stream in (False, True):
            message = await ask(gateway, stream)
            assert (message.content, message.stop_reason) == ([], "end_turn")


async def test_errors_have_anthropics_shape(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous=False) as gateway:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await anthropic_client(gateway).messages.create(**ASK)
        assert error_type(caught.value) == "authentication_error"
        with pytest.raises(anthropic.AuthenticationError):
            await anthropic_client(gateway, key="cst_wrong").messages.create(**ASK)
    async with running_gateway(tmp_path / "second") as gateway:
        with pytest.raises(anthropic.NotFoundError) as missing:
            await anthropic_client(gateway).messages.create(**{**ASK, "model": "claude-opus-4-1"})
        assert error_type(missing.value) == "not_found_error"
        with pytest.raises(anthropic.BadRequestError) as wrong:
            await anthropic_client(gateway).messages.create(**ASK, extra_body={"temperature": 500})
        assert error_type(wrong.value) == "invalid_request_error"


async def test_a_rate_limit_has_anthropics_name_and_retry_after(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, anonymous_requests_per_minute=1) as gateway:
        await anthropic_client(gateway).messages.create(**ASK)
        with pytest.raises(anthropic.RateLimitError) as caught:
            await anthropic_client(gateway).messages.create(**ASK)
        assert error_type(caught.value) == "rate_limit_error"
        assert int(caught.value.response.headers["retry-after"]) > 0


async def test_no_miner_is_overloaded_and_a_failed_one_an_api_error(tmp_path: Path) -> None:
    async def fails(request: web.Request, script: Script) -> web.StreamResponse:
        return web.json_response({"error": {"message": "out of memory"}}, status=500)

    async with running_gateway(tmp_path, fails) as gateway:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await anthropic_client(gateway).messages.create(**ASK)
        assert (caught.value.status_code, error_type(caught.value)) == (502, "api_error")
        with pytest.raises(anthropic.APIStatusError) as none_left:
            await anthropic_client(gateway).messages.create(**ASK)
        assert error_type(none_left.value) in ("overloaded_error", "api_error")


async def test_a_stream_that_breaks_off_ends_with_an_error_event(tmp_path: Path) -> None:
    async def breaks_off(request: web.Request, script: Script) -> web.StreamResponse:
        return await script.stream(request, *script.events[:2])

    async with running_gateway(tmp_path, breaks_off) as gateway:
        events = await raw_events(gateway, ASK)
        kind, data = events[-1]
        assert (kind, data["error"]["type"]) == ("error", "api_error")
        assert "[DONE]" in data["error"]["message"]
        with pytest.raises(anthropic.APIStatusError):
            await ask(gateway, True)


NONSENSE: list[dict[str, Any]] = [
    {"content": 5},
    {"tool_calls": {}},
    {"tool_calls": [5]},
    {"tool_calls": [{"index": -1}]},
    {"tool_calls": [{"index": 10**6, "id": "a", "function": {"name": "f"}}]},
    {"tool_calls": [{"index": 0, "function": {"name": "f"}}]},
    {"tool_calls": [{"index": 0, "id": "a", "function": {"arguments": "{}"}}]},
    {"tool_calls": [{"index": 0, "id": "a", "function": "f"}]},
    {"tool_calls": [{"index": 0, "id": "a" * 1000, "function": {"name": "f"}}]},
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("delta", NONSENSE)
async def test_nonsense_in_place_of_calls_is_the_miners_failure(
    tmp_path: Path, delta: dict[str, Any], stream: bool
) -> None:
    async def nonsense(request: web.Request, script: Script) -> web.StreamResponse:
        if stream:
            return await speaks([delta])(request, script)
        return web.json_response(_with_message(script.answer, delta))

    async with running_gateway(tmp_path, nonsense) as gateway:
        with pytest.raises(anthropic.APIStatusError) as caught:
            await ask(gateway, stream)
        assert error_type(caught.value) == "api_error"


def _with_message(answer: dict[str, Any], message: dict[str, Any]) -> dict[str, Any]:
    (choice,) = answer["choices"]
    return answer | {"choices": [choice | {"message": message}]}


async def test_a_stream_may_not_go_back_to_an_earlier_call(tmp_path: Path) -> None:
    deltas = [*call_deltas(), {"tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}]
    async with running_gateway(tmp_path, speaks(deltas)) as gateway:
        with pytest.raises(anthropic.APIStatusError, match="goes back"):
            await ask(gateway, True)
        assert gateway.records()[0].outcome == "failed"


@pytest.mark.parametrize("delta", NONSENSE)
async def test_a_whole_answer_of_nonsense_is_charged_to_its_miner_and_asked_of_another(
    tmp_path: Path, delta: dict[str, Any]
) -> None:
    async def nonsense(request: web.Request, script: Script) -> web.StreamResponse:
        return web.json_response(_with_message(script.answer, delta))

    async with running_gateway(tmp_path, nonsense, honest) as gateway:
        assert (await ask(gateway, False)).content[0].text == TEXT
        first, second = gateway.records()
        assert [(one.miner_uid, one.outcome) for one in (first, second)] == [(0, "failed"), (1, "answered")]
        assert first.error
        assert gateway.parts.table.breaker_states() == {0: "open", 1: "closed"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_message_names_its_receipt_where_it_is_asked_to(tmp_path: Path, stream: bool) -> None:
    asked: dict[str, Any] = {"extra_body": {"provenance": True}}
    async with running_gateway(tmp_path) as gateway:
        client = anthropic_client(gateway)
        if stream:
            async with client.messages.stream(**ASK, **asked) as events:
                seen = [event async for event in events]
                message = await events.get_final_message()
            (told,) = [event.provenance for event in seen if "provenance" in (event.model_extra or {})]
            (last,) = [event for event in seen if event.type == "message_delta"]
            assert last.provenance == told
        else:
            message = await client.messages.create(**ASK, **asked)
            told = message.provenance
        (record,) = gateway.records()
        assert told == {
            "request_id": record.request_id,
            "miner_uid": 0,
            "miner_hotkey": gateway.miners[0].hotkey,
            "receipt_digest": digest_of(record.receipt or {}),
            "receipt": f"/v1/receipts/{record.request_id}",
        }
        assert message.content[0].text == TEXT
        assert "provenance" not in gateway.miners[0].bodies[0]


async def test_the_synchronous_client_gets_the_receipts_name_too(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"extra_body": {"provenance": True}}
    async with running_gateway(tmp_path) as gateway:
        client = anthropic_client_sync(gateway)
        message = await asyncio.to_thread(client.messages.create, **ASK, **asked)
        assert message.provenance["miner_uid"] == 0

        def streamed() -> list[Any]:
            return list(client.messages.create(**ASK, **asked, stream=True))

        events = await asyncio.to_thread(streamed)
        assert [event.type for event in events if "provenance" in (event.model_extra or {})] == [
            "message_delta"
        ]


@pytest.mark.parametrize("asked", [{}, {"provenance": False}, {"provenance": None}])
async def test_who_does_not_ask_gets_a_message_without_it(tmp_path: Path, asked: dict[str, Any]) -> None:
    async with running_gateway(tmp_path) as gateway:
        whole = await ask(gateway, False, extra_body=asked)
        events = await raw_events(gateway, ASK | {"extra_body": asked})
        assert "provenance" not in whole.model_dump_json() + json.dumps(events)


@pytest.mark.parametrize("stream", [False, True])
async def test_hints_choose_the_miner_of_a_message_and_stay_here(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        await ask(gateway, stream, extra_body={"provider": {"order": [1]}})
        (record,) = gateway.records()
        assert (record.miner_uid, record.steered) == (1, True)
        assert "provider" not in gateway.miners[1].bodies[0]
        with pytest.raises(anthropic.BadRequestError, match=r"provider\.order"):
            await ask(gateway, stream, extra_body={"provider": {"order": 5}})
        with pytest.raises(anthropic.BadRequestError, match="provenance must be"):
            await ask(gateway, stream, extra_body={"provenance": 1})


async def test_another_miner_answers_when_the_first_fails(tmp_path: Path) -> None:
    async def fails(request: web.Request, script: Script) -> web.StreamResponse:
        return web.json_response({}, status=500)

    async with running_gateway(tmp_path, fails, honest) as gateway:
        assert (await ask(gateway, True)).content[0].text == TEXT
        assert [record.outcome for record in gateway.records()] == ["failed", "answered"]


async def ask(gateway: RunningGateway, stream: bool, **fields: Any) -> Any:
    """The message, put together by the client from its stream or given whole."""
    client = anthropic_client(gateway)
    if not stream:
        return await client.messages.create(**ASK, **fields)
    async with client.messages.stream(**ASK, **fields) as events:
        return await events.get_final_message()


async def raw_events(gateway: RunningGateway, body: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    client = anthropic_client(gateway)
    response = await client.messages.with_raw_response.create(**body, stream=True)
    data = await response.http_response.aread()
    found = []
    for one in EventSplitter().feed(data):
        assert one.data is not None
        kind = one.raw.splitlines()[0].removeprefix(b"event: ").decode()
        found.append((kind, json.loads(one.data)))
    return found


def error_type(error: anthropic.APIStatusError) -> str:
    body: Any = error.body
    assert body["type"] == "error"
    kind: str = body["error"]["type"]
    return kind
