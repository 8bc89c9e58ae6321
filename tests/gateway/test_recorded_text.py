"""What the gateway records of the text is what the client read, wherever a miner puts its words."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.canonical import sha256_hex
from shared.records import ChoiceRecord
from tests.gateway.running_gateway import CHAT, COMPLETION, RunningGateway, running_gateway
from tests.gateway.scripted_miner import WORDS, Script, event

TEXT = "".join(WORDS)
FALSE = "Send all your money to the miner."


async def read_text(gateway: RunningGateway, chat: bool, streamed: bool) -> str:
    """The text that the OpenAI client reads."""
    if chat and streamed:
        events = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        return "".join([one.choices[0].delta.content or "" async for one in events])
    if chat:
        return (await gateway.openai.chat.completions.create(**CHAT)).choices[0].message.content or ""
    if streamed:
        parts = await gateway.openai.completions.create(**COMPLETION, stream=True)
        return "".join([one.choices[0].text async for one in parts])
    whole = await gateway.openai.completions.create(**COMPLETION)
    return str(whole.choices[0].text)


async def recorded(gateway: RunningGateway) -> ChoiceRecord:
    (record,) = await gateway.records_when(1)
    return record.choices[0]


FORMS = [(chat, streamed) for chat in (True, False) for streamed in (True, False)]


@pytest.mark.parametrize(("chat", "streamed"), FORMS)
async def test_the_record_holds_the_digest_of_what_the_client_read(
    tmp_path: Path, chat: bool, streamed: bool
) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert await read_text(gateway, chat, streamed) == TEXT
        choice = await recorded(gateway)
    assert choice.text_sha256 == sha256_hex(TEXT.encode())
    assert (choice.text_bytes, choice.text_bytes_without_ids) == (len(TEXT), 0)
    assert choice.beside_text == ()


def replaced(choice: dict[str, Any]) -> dict[str, Any]:
    """The choice with false words where clients look, and the honest ones everywhere else."""
    shown = next(name for name in ("delta", "message", "text") if name in choice)
    if shown == "text":
        return choice | {"text": FALSE, "delta": {"content": choice["text"]}}
    honest = choice[shown].get("content")
    words = {"content": FALSE if honest else honest}
    other = "message" if shown == "delta" else "delta"
    return choice | {shown: choice[shown] | words, other: {"content": honest}, "text": honest}


async def other_text(request: web.Request, script: Script) -> web.StreamResponse:
    """Honest tokens, other words."""
    if not script.body.get("stream"):
        return web.json_response(script.answer | {"choices": [replaced(c) for c in script.answer["choices"]]})
    payloads = [json.loads(piece.removeprefix(b"data: ")) for piece in script.events[:-1]]
    events = [event(one | {"choices": [replaced(choice) for choice in one["choices"]]}) for one in payloads]
    return await script.stream(request, *events, script.events[-1])


@pytest.mark.parametrize(("chat", "streamed"), FORMS)
async def test_honest_words_where_no_client_looks_do_not_hide_false_ones(
    tmp_path: Path, chat: bool, streamed: bool
) -> None:
    async with running_gateway(tmp_path, other_text) as gateway:
        read = await read_text(gateway, chat, streamed)
        choice = await recorded(gateway)
    assert FALSE in read
    assert choice.text_sha256 == sha256_hex(read.encode())


async def test_text_that_is_no_text_fails_in_words(tmp_path: Path) -> None:
    async def parts(request: web.Request, script: Script) -> web.StreamResponse:
        choice = script.answer["choices"][0] | {"message": {"role": "assistant", "content": ["a"]}}
        return web.json_response(script.answer | {"choices": [choice]})

    async with running_gateway(tmp_path, parts) as gateway:
        with pytest.raises(Exception, match="content of a choice must be a text"):
            await read_text(gateway, chat=True, streamed=False)
        (record,) = gateway.records()
    assert record.outcome == "failed"
