"""A real miner with the real demo model behind a gateway, through the real clients. One engine serves all.

The model has Qwen2.5's chat template, so that its tool calls are parsed as in production. It is too small to
decide for a tool by itself: where a test needs a call, the words of the call are forced by a grammar.
"""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio

from gateway.config import StaticMiner
from gateway.miner_list import ListedMiners
from localnet.config import PROJECT_ROOT
from localnet.wallets import create_party
from shared.vllm_cpu import cpu_engine_flags
from shared.wallets import load_hotkey
from tests.gateway.calling_miner import anthropic_client, anthropic_client_sync
from tests.gateway.qwen_template import QWEN25_TEMPLATE
from tests.gateway.running_gateway import RunningGateway, keypair, running_gateway
from tests.miners.running_miner import (
    NETUID,
    RunningMiner,
    free_port,
    miner_environment,
    register,
    running_chain,
    start_miner,
    stop,
)
from validator.answer_checks import AnswerChecks

pytestmark = pytest.mark.vllm

MODEL = "demo-with-tools"
CALIBRATION = PROJECT_ROOT / "localnet" / "calibration" / "SmolLM2-135M-Instruct.calibration"
USER: Any = {"role": "user", "content": "Name the largest ocean."}
CHAT: dict[str, Any] = {"model": MODEL, "messages": [USER], "max_tokens": 12, "temperature": 0}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks up the weather in a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Abidjan", "Lagos"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
ONE_CALL = '<tool_call>\n{"name": "look_up", "arguments": {"city": "Lagos"}}\n</tool_call>'
TWO_CALLS = f"{ONE_CALL}\n{ONE_CALL.replace('Lagos', 'Abidjan')}"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"ocean": {"type": "string", "enum": ["Pacific", "Atlantic"]}, "deep": {"type": "boolean"}},
    "required": ["ocean", "deep"],
    "additionalProperties": False,
}


PATIENT = {"first_byte_timeout_s": 300.0, "idle_timeout_s": 300.0}
"""The first answer with log probabilities compiles C++, on a busy machine for more than a minute."""


@dataclass(frozen=True)
class Serving:
    miner: RunningMiner
    model: Path


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory, demo_model_folder: Path) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("real-miner")
    model = folder / MODEL
    shutil.copytree(demo_model_folder, model, copy_function=os.link)
    (model / "chat_template.jinja").unlink()
    (model / "chat_template.jinja").write_text(QWEN25_TEMPLATE)
    with running_chain(folder / "chain") as url:
        party = create_party("miner", folder)
        register(url, party)
        create_party("validator", folder)
        port, log_file = free_port(), folder / "miner.log"
        flags = (
            *("--model", str(model), "--calibration", str(CALIBRATION), "--port", str(port)),
            *("--network", url, "--netuid", str(NETUID), "--wallet-path", str(folder)),
            *("--allow-hotkeys", keypair("gateway").ss58_address),
            *("--state-dir", str(folder / "state"), *cpu_engine_flags()),
        )
        process = start_miner(flags, log_file, miner_environment())
        caller = load_hotkey("validator", "default", folder)
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60.0)
        miner = RunningMiner(process, log_file, port, party.hotkey, caller, http)
        try:
            miner.wait_until_ready()
            yield Serving(miner, model)
        finally:
            stop(process)


@pytest_asyncio.fixture
async def gateway(serving: Serving, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    listing = StaticMiner(f"127.0.0.1:{serving.miner.port}", serving.miner.hotkey)
    settings: dict[str, Any] = {"model": str(serving.model), "max_model_len": 2048, **PATIENT}
    async with running_gateway(tmp_path, source=ListedMiners(lambda: [listing]), **settings) as running:
        await running.parts.tokens.load()
        yield running


async def chat(gateway: RunningGateway, **fields: Any) -> Any:
    return await gateway.openai.chat.completions.create(**{**CHAT, **fields})


async def chunks(gateway: RunningGateway, **fields: Any) -> list[Any]:
    stream = await chat(gateway, stream=True, **fields)
    return [chunk async for chunk in stream]


def forced(text: str) -> dict[str, Any]:
    return {"structured_outputs": {"choice": [text]}}


async def test_streams_say_the_same_as_whole_answers_and_report_usage(gateway: RunningGateway) -> None:
    whole = await chat(gateway)
    events = await chunks(gateway, stream_options={"include_usage": True})
    text = "".join(event.choices[0].delta.content or "" for event in events if event.choices)
    assert text == whole.choices[0].message.content != ""
    assert events[-1].choices == []
    assert events[-1].usage == whole.usage
    assert 0 < whole.usage.completion_tokens <= 12
    assert "token_ids" not in whole.model_dump_json()


async def test_usage_comes_with_every_chunk_where_asked_for(gateway: RunningGateway) -> None:
    options: Any = {"include_usage": True, "continuous_usage_stats": True}
    events = await chunks(gateway, stream_options=options)
    counts = [event.usage.completion_tokens for event in events]
    assert counts == sorted(counts)
    assert 0 < counts[-1] <= 12


async def test_the_gateway_counts_prompts_as_the_miner_does(gateway: RunningGateway) -> None:
    for fields in ({}, {"tools": [TOOL]}, {"messages": [{"role": "system", "content": "Be kind."}, USER]}):
        whole = await chat(gateway, **fields)
        body: dict[str, Any] = {"model": MODEL, "messages": [USER], **fields}
        async with httpx.AsyncClient(base_url=gateway.url) as http:
            counted = (await http.post("/tokenize", json=body)).json()
        assert counted["count"] == whole.usage.prompt_tokens


async def test_a_prompt_longer_than_the_context_is_refused_with_openais_code(gateway: RunningGateway) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await chat(gateway, messages=[{"role": "user", "content": "ocean " * 2100}])
    assert caught.value.code == "context_length_exceeded"
    assert gateway.records() == []


async def test_the_miners_own_refusal_of_a_long_prompt_has_the_same_code(
    serving: Serving, tmp_path: Path
) -> None:
    listing = StaticMiner(f"127.0.0.1:{serving.miner.port}", serving.miner.hotkey)
    settings: dict[str, Any] = {"model": str(serving.model), **PATIENT}
    async with running_gateway(tmp_path, source=ListedMiners(lambda: [listing]), **settings) as unknowing:
        with pytest.raises(openai.BadRequestError) as caught:
            await chat(unknowing, messages=[{"role": "user", "content": "ocean " * 2100}])
    assert caught.value.code == "context_length_exceeded"


async def test_wrong_values_that_only_vllm_knows_are_a_clients_mistake(gateway: RunningGateway) -> None:
    for fields in ({"extra_body": {"bad_words": 5}}, {"response_format": {"type": "nonsense"}}):
        with pytest.raises(openai.BadRequestError) as caught:
            await chat(gateway, **fields)
        assert caught.value.type == "invalid_request_error"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_named_tool_is_called_with_arguments_of_its_schema(
    gateway: RunningGateway, stream: bool
) -> None:
    fields = {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "max_tokens": 60,
    }
    name, arguments = (await calls(gateway, stream, **fields))[0]
    assert name == "look_up"
    assert json.loads(arguments)["city"] in ("Abidjan", "Lagos")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_required_tool_is_called(gateway: RunningGateway, stream: bool) -> None:
    found = await calls(gateway, stream, tools=[TOOL], tool_choice="required", max_tokens=200)
    assert {name for name, _ in found} == {"look_up"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("words", "cities"), [(ONE_CALL, ["Lagos"]), (TWO_CALLS, ["Lagos", "Abidjan"])])
async def test_calls_that_the_model_writes_itself_are_parsed(
    gateway: RunningGateway, words: str, cities: list[str], stream: bool
) -> None:
    loose = {"type": "function", "function": {**TOOL["function"], "strict": False}}
    found = await calls(gateway, stream, tools=[loose], max_tokens=120, extra_body=forced(words))
    assert [json.loads(arguments)["city"] for _, arguments in found] == cities


async def calls(gateway: RunningGateway, stream: bool, **fields: Any) -> list[tuple[str, str]]:
    """Names and arguments of the calls in an answer."""
    if not stream:
        message = (await chat(gateway, **fields)).choices[0].message
        return [(call.function.name, call.function.arguments) for call in message.tool_calls]
    found: dict[int, tuple[str, str]] = {}
    for event in await chunks(gateway, **fields):
        for call in (event.choices[0].delta.tool_calls or ()) if event.choices else ():
            name, arguments = found.get(call.index, ("", ""))
            found[call.index] = (name or call.function.name, arguments + (call.function.arguments or ""))
    return [found[index] for index in sorted(found)]


async def test_a_conversation_with_calls_and_results_goes_on(gateway: RunningGateway) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Lagos"}'}}
    turns = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "31 degrees"},
    ]
    assert (await chat(gateway, messages=turns, tools=[TOOL])).choices[0].message.content


async def test_answers_keep_to_a_json_schema_or_to_json(gateway: RunningGateway) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "fact", "schema": SCHEMA, "strict": True}}
    answer = await chat(gateway, response_format=wanted, max_tokens=80)
    assert set(json.loads(answer.choices[0].message.content)) == {"ocean", "deep"}
    loose = await chat(gateway, response_format={"type": "json_object"}, max_tokens=200)
    if loose.choices[0].finish_reason == "stop":
        json.loads(loose.choices[0].message.content)


async def test_log_probabilities_come_with_their_alternatives(gateway: RunningGateway) -> None:
    answer = await chat(gateway, logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    assert all(len(token.top_logprobs) >= 3 for token in tokens)
    events = await chunks(gateway, logprobs=True, top_logprobs=3)
    streamed = [
        one
        for event in events
        if event.choices and event.choices[0].logprobs
        for one in event.choices[0].logprobs.content
    ]
    assert [one.token for one in streamed] == [one.token for one in tokens]


async def test_several_choices_differ_by_their_seeds_and_come_again_with_the_same(
    gateway: RunningGateway,
) -> None:
    first, again = [await chat(gateway, n=3, seed=7, temperature=1.0) for _ in range(2)]
    texts = [choice.message.content for choice in first.choices]
    assert len(set(texts)) > 1
    assert texts == [choice.message.content for choice in again.choices]
    assert texts != [c.message.content for c in (await chat(gateway, n=3, seed=8, temperature=1.0)).choices]


async def test_stops_end_the_answer_and_biases_change_it(gateway: RunningGateway) -> None:
    plain = (await chat(gateway)).choices[0].message.content
    word = plain.split()[1]
    stopped = (await chat(gateway, stop=[word])).choices[0]
    assert (stopped.finish_reason, stopped.message.content) == ("stop", plain[: plain.index(word)])
    shown = await chat(gateway, extra_body={"return_token_ids": True})
    first = shown.choices[0].token_ids[0]
    biased = await chat(gateway, logit_bias={str(first): -100})
    assert biased.choices[0].message.content != plain


async def test_sampling_fields_are_taken(gateway: RunningGateway) -> None:
    extra = {"top_k": 1, "min_p": 0.1, "repetition_penalty": 1.2, "min_tokens": 3, "unheard_of": {"x": 1}}
    answer = await chat(
        gateway,
        max_completion_tokens=5,
        max_tokens=openai.omit,
        temperature=0.7,
        top_p=0.9,
        presence_penalty=0.5,
        frequency_penalty=0.5,
        user="somebody",
        extra_body=extra,
    )
    assert 3 <= answer.usage.completion_tokens <= 5


async def test_content_in_parts_is_the_same_as_in_one(gateway: RunningGateway) -> None:
    parts = [{"type": "text", "text": USER["content"]}]
    in_parts = await chat(gateway, messages=[{"role": "user", "content": parts}])
    assert in_parts.choices[0].message.content == (await chat(gateway)).choices[0].message.content


async def test_completions_take_texts_lists_and_token_ids(gateway: RunningGateway) -> None:
    async def create(**fields: Any) -> Any:
        return await gateway.openai.completions.create(
            **{"model": MODEL, "max_tokens": 6, "temperature": 0, **fields}
        )

    text = (await create(prompt="The ocean is")).choices[0].text
    several = await create(prompt=["The ocean is", "A lighthouse stands"])
    assert [choice.index for choice in several.choices] == [0, 1]
    assert several.choices[0].text == text
    async with httpx.AsyncClient(base_url=gateway.url) as http:
        ids = (await http.post("/tokenize", json={"prompt": "The ocean is"})).json()["tokens"]
        back = (await http.post("/detokenize", json={"tokens": ids})).json()
    assert back == {"prompt": "The ocean is"}
    assert (await create(prompt=ids)).choices[0].text == text
    assert [c.text for c in (await create(prompt=[ids, ids])).choices] == [text] * 2
    scored = await create(prompt="The ocean is", logprobs=2)
    assert len(scored.choices[0].logprobs.tokens) == scored.usage.completion_tokens
    echoed = await create(prompt="The ocean is", echo=True)
    assert echoed.usage.completion_tokens <= 6


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sync", [False, True])
async def test_messages_are_answered_like_chats(gateway: RunningGateway, stream: bool, sync: bool) -> None:
    plain = await chat(gateway)
    message = await message_of(gateway, stream, sync, max_tokens=12)
    assert message.content[0].text == plain.choices[0].message.content
    assert message.usage.input_tokens == plain.usage.prompt_tokens
    assert message.usage.output_tokens == plain.usage.completion_tokens
    expected = "end_turn" if plain.choices[0].finish_reason == "stop" else "max_tokens"
    assert message.stop_reason == expected


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("sync", [False, True])
async def test_messages_call_tools(gateway: RunningGateway, stream: bool, sync: bool) -> None:
    tool = {"name": "look_up", "input_schema": TOOL["function"]["parameters"], "strict": True}
    called = await message_of(
        gateway, stream, sync, tools=[tool], tool_choice={"type": "tool", "name": "look_up"}, max_tokens=60
    )
    (use,) = called.content
    assert (use.name, called.stop_reason) == ("look_up", "tool_use")
    assert use.input["city"] in ("Abidjan", "Lagos")


async def message_of(gateway: RunningGateway, stream: bool, sync: bool, **fields: Any) -> Any:
    asked = {"model": MODEL, "messages": [USER], "extra_body": {"temperature": 0}, **fields}
    if sync:
        return await asyncio.to_thread(message_of_sync, anthropic_client_sync(gateway), stream, asked)
    client = anthropic_client(gateway)
    if not stream:
        return await client.messages.create(**asked)
    async with client.messages.stream(**asked) as events:
        return await events.get_final_message()


def message_of_sync(client: Any, stream: bool, asked: dict[str, Any]) -> Any:
    if not stream:
        return client.messages.create(**asked)
    with client.messages.stream(**asked) as events:
        return events.get_final_message()


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_are_answered_like_chats(gateway: RunningGateway, stream: bool) -> None:
    plain = await chat(gateway)
    response = await response_of(gateway, stream, max_output_tokens=16)
    assert response.output_text.startswith(plain.choices[0].message.content)
    assert response.usage.input_tokens == plain.usage.prompt_tokens


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_call_functions_and_keep_to_schemas(gateway: RunningGateway, stream: bool) -> None:
    tool = {"type": "function", **TOOL["function"]}
    choice = {"type": "function", "name": "look_up"}
    called = await response_of(gateway, stream, tools=[tool], tool_choice=choice, max_output_tokens=60)
    assert json.loads(called.output[0].arguments)["city"] in ("Abidjan", "Lagos")
    wanted = {"format": {"type": "json_schema", "name": "fact", "schema": SCHEMA, "strict": True}}
    formed = await response_of(gateway, stream, text=wanted, max_output_tokens=80)
    assert set(json.loads(formed.output_text)) == {"ocean", "deep"}


async def response_of(gateway: RunningGateway, stream: bool, **fields: Any) -> Any:
    create = gateway.openai.responses.create
    asked = {"model": MODEL, "input": [USER], "temperature": 0, **fields}
    if not stream:
        return await create(**asked)
    events = [event async for event in await create(**asked, stream=True)]
    return events[-1].response


async def test_the_record_of_a_translated_answer_is_what_the_auditor_expects(
    gateway: RunningGateway, serving: Serving
) -> None:
    for stream in (False, True):
        await message_of(gateway, stream, sync=stream, max_tokens=12)
        await response_of(gateway, stream, max_output_tokens=16, instructions="Be brief.")
    checks = AnswerChecks.load(str(serving.model))
    for record in gateway.records():
        assert checks.prompts(record) == [list(record.choices[0].prompt_token_ids)]
        text = checks.check_text(record)
        assert (text.finding, text.unchecked) == (None, "")
        assert checks.check_end(record) is None
