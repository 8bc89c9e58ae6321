"""Answers that are wrong as bytes: whatever a miner writes, the client gets what was valid, and an ending."""

import asyncio
import gzip
import json
import re
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.event_stream import MAX_EVENT_BYTES
from gateway.miner_answer import MAX_ANSWER_NESTING
from shared.records import RequestRecord
from tests.gateway.raw_miner import STREAM_HEAD, RawBehaviour, RawMiner, Write, chunk, gateway_before
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway
from tests.gateway.scripted_miner import WORDS, Script, event

WHOLE = "".join(WORDS)
CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


def sends(*pieces: bytes, head: bytes = STREAM_HEAD, first: int = 3) -> RawBehaviour:
    """A miner that sends its first events, and then these bytes instead of the rest."""

    async def behave(write: Write, script: Script) -> None:
        await write(head + b"".join(script.events[:first]))
        for piece in pieces:
            await write(piece)

    return behave


def ends(*pieces: bytes) -> RawBehaviour:
    """A miner that answers honestly but for [DONE], instead of which it sends these bytes."""
    return sends(*pieces, first=-1)


async def stream(gateway: RunningGateway) -> tuple[str, openai.APIError | None]:
    text = ""
    try:
        async for part in await gateway.openai.chat.completions.create(**CHAT, stream=True):
            text += part.choices[0].delta.content or "" if part.choices else ""
    except openai.APIError as error:
        return text, error
    return text, None


async def only_record(gateway: RunningGateway) -> RequestRecord:
    await gateway.idle()
    (record,) = gateway.records()
    assert gateway.parts.table.get(0).in_flight == 0
    return record


def deep(levels: int) -> bytes:
    return b'data: {"choices": ' + b"[" * levels + b"]" * levels + b"}\n\n"


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


async def test_nesting_that_answers_may_have_is_passed_on(tmp_path: Path) -> None:
    fine = event({"choices": [], "x": nested(MAX_ANSWER_NESTING - 4), "brackets": "[{" * 100})

    async def behave(write: Write, script: Script) -> None:
        await write(STREAM_HEAD + b"".join([*script.events[:3], fine, *script.events[3:]]))

    async with gateway_before(tmp_path, RawMiner(behave)) as gateway:
        assert await stream(gateway) == (WHOLE, None)


@pytest.mark.parametrize(
    ("behaviour", "text", "reason"),
    [
        (sends(b"data: \xff\xfe\xfd\n\n"), "Miners answer", "not JSON"),
        (
            sends(event({"choices": []}).replace(b"[]", b'[{"index": 0, "x": "\xc3"}]')),
            "Miners answer",
            "JSON",
        ),
        (sends(b'data: {"choices": [], "x": NaN}\n\n'), "Miners answer", "not JSON"),
        (sends(b'data: {"choices": [], "x": 1e999}\n\n'), "Miners answer", "not JSON"),
        (sends(deep(100_000)), "Miners answer", "not JSON|no list of choices"),
        (sends(deep(500)), "Miners answer", "nested more than"),
        (sends(event({"choices": [], "x": nested(MAX_ANSWER_NESTING)})), "Miners answer", "nested more than"),
        (sends(b"data: " + b"x" * (MAX_EVENT_BYTES + 1)), "Miners answer", "more than"),
        (sends(b"data: {}\n\n"), "Miners answer", "no list of choices"),
        (sends(b"\x00" * 100), "Miners answer", r"without \[DONE\]"),
        (sends(b"data: [DONE]\n\n"), "Miners answer", "no receipt"),
        (ends(), WHOLE, r"without \[DONE\]"),
        (ends(b"data: [DONE"), WHOLE, r"without \[DONE\]"),
    ],
)
async def test_what_was_valid_is_delivered_and_an_error_event_ends_it(
    tmp_path: Path, behaviour: RawBehaviour, text: str, reason: str
) -> None:
    async with gateway_before(tmp_path, RawMiner(behaviour)) as gateway:
        got, error = await stream(gateway)
        record = await only_record(gateway)
        assert got == text
        assert error is not None
        assert error.code == "miner_failed"
        assert record.outcome == "failed"
        assert re.search(reason, str(record.error)), record.error


@pytest.mark.parametrize(
    "after",
    [
        b"data: [DONE]\n\ndata: [DONE]\n\n",
        b"data: [DONE]\n\n" + event({"choices": [{"index": 0, "delta": {"content": "more"}}]}),
        b"data: [DONE]\n\n\xff\xff\xff",
        b"data: [DONE]\n\n" + b"x" * 100_000,
    ],
    ids=["done twice", "content", "no text", "much"],
)
async def test_nothing_after_done_reaches_the_client(tmp_path: Path, after: bytes) -> None:
    async with gateway_before(tmp_path, RawMiner(ends(after))) as gateway:
        assert await stream(gateway) == (WHOLE, None)
        assert (await only_record(gateway)).outcome == "answered"


async def test_a_stream_that_goes_on_for_ever_after_done_does_not_hold_the_client(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        await write(STREAM_HEAD + b"".join(script.events))
        while True:
            await write(b": more\n\n" * 100)

    miner = RawMiner(behave)
    async with gateway_before(tmp_path, miner) as gateway:
        assert await stream(gateway) == (WHOLE, None)
        assert (await only_record(gateway)).outcome == "answered"
        async with asyncio.timeout(HANG_S):
            await miner.hung_up.wait()


async def test_events_that_never_hold_a_token_end_with_the_answers_time(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        await write(STREAM_HEAD)
        while True:
            await write(event({"choices": []}))
            await asyncio.sleep(0)

    miner = RawMiner(behave)
    async with gateway_before(tmp_path, miner, answer_timeout_s=0.3) as gateway:
        text, error = await stream(gateway)
        assert (text, error and error.code) == ("", "miner_failed")
        assert (await only_record(gateway)).outcome == "failed"
        await miner.hung_up.wait()


async def test_one_byte_at_a_time_is_silence(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        await write(STREAM_HEAD + b"".join(script.events[:3]))
        for byte in event({"choices": [], "padding": "x" * 100_000}):
            await write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with gateway_before(tmp_path, RawMiner(behave), idle_timeout_s=0.2) as gateway:
        text, error = await stream(gateway)
        assert (text, error and error.code) == ("Miners answer", "miner_failed")
        assert "silent" in str((await only_record(gateway)).error)


@pytest.mark.parametrize(
    "lie",
    [b"ffffffffffffffff\r\nx", b"-5\r\nhello\r\n", b"zz\r\nhello\r\n", b"5\r\nhel", b"5\r\nhello!!\r\n"],
    ids=["huge", "negative", "no number", "cut off", "too long"],
)
async def test_chunks_that_lie_about_their_size_are_a_broken_connection(tmp_path: Path, lie: bytes) -> None:
    async def behave(write: Write, script: Script) -> None:
        await write(CHUNKED_HEAD + chunk(b"".join(script.events[:3])))
        await write(lie)

    async with gateway_before(tmp_path, RawMiner(behave), idle_timeout_s=1.0) as gateway:
        text, error = await stream(gateway)
        assert (text in ("", "Miners answer"), error and error.code) == (True, "miner_failed")
        assert (await only_record(gateway)).outcome == "failed"


async def test_a_body_that_ends_before_its_length_is_a_broken_connection(tmp_path: Path) -> None:
    head = STREAM_HEAD.replace(b"connection: close", b"content-length: 9999999")
    async with gateway_before(tmp_path, RawMiner(sends(head=head))) as gateway:
        text, error = await stream(gateway)
        assert (text, error and error.code) == ("Miners answer", "miner_failed")


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n", "event stream"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "event stream"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "HTTP 204"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "HTTP 101|broke"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n", "HTTP 302"),
        (b"HTTP/1.1 999 ?\r\ncontent-length: 0\r\n\r\n", "HTTP 999|broke"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "broke"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2_000_000 + b"\r\n\r\n", "broke"),
        (b"", "broke"),
    ],
    ids=["html", "no type", "204", "101", "redirect", "999", "no HTTP", "huge head", "nothing"],
)
async def test_a_head_that_is_not_what_was_asked_for_is_502(tmp_path: Path, head: bytes, reason: str) -> None:
    async with gateway_before(
        tmp_path, RawMiner(sends(head=head, first=0)), first_byte_timeout_s=2.0
    ) as gateway:
        text, error = await stream(gateway)
        assert text == ""
        assert isinstance(error, openai.InternalServerError)
        assert error.status_code == 502
        assert re.search(reason, str((await only_record(gateway)).error))


async def test_interim_answers_before_the_real_one_are_passed_over(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        await write(b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + STREAM_HEAD + b"".join(script.events))

    async with gateway_before(tmp_path, RawMiner(behave)) as gateway:
        assert await stream(gateway) == (WHOLE, None)


async def test_interim_answers_without_end_are_ended(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        while True:
            await write(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)
            await asyncio.sleep(0)

    async with gateway_before(tmp_path, RawMiner(behave), first_byte_timeout_s=0.3) as gateway:
        _, error = await stream(gateway)
        assert isinstance(error, openai.InternalServerError)


async def test_compression_that_nobody_asked_for_is_not_unpacked(tmp_path: Path) -> None:
    head = STREAM_HEAD.replace(b"connection: close", b"content-encoding: gzip\r\nconnection: close")

    async def behave(write: Write, script: Script) -> None:
        await write(head + gzip.compress(b"".join(script.events)))

    async with gateway_before(tmp_path, RawMiner(behave)) as gateway:
        text, error = await stream(gateway)
        assert text == ""
        assert error is not None
        assert (await only_record(gateway)).outcome == "failed"


async def test_deeply_nested_whole_answers_are_502(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        body = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        await write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n")
        await write(b"content-length: %d\r\n\r\n%s" % (len(body), body))

    async with gateway_before(tmp_path, RawMiner(behave)) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT)
        assert caught.value.code == "miner_failed"


async def test_an_honest_raw_miner_is_served_as_it_is(tmp_path: Path) -> None:
    async def behave(write: Write, script: Script) -> None:
        body = json.dumps(script.answer).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        await write(head % len(body) + body)

    async with gateway_before(tmp_path, RawMiner(behave)) as gateway:
        answer: Any = await gateway.openai.chat.completions.create(**CHAT)
        assert answer.choices[0].message.content == WHOLE
