"""Streams pass through as they come, are timed on arrival, and stop at the miner when the client leaves."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from shared.inference_paths import CHAT_PATH
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway, running_gateway
from tests.gateway.scripted_miner import WORD_IDS, Script, open_stream


class Gated:
    """A miner that sends one event each time `step` is called."""

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(0)
        self.started = asyncio.Event()

    def step(self, events: int = 1) -> None:
        for _ in range(events):
            self._gate.release()

    async def __call__(self, request: web.Request, script: Script) -> web.StreamResponse:
        response = await open_stream(request)
        self.started.set()
        for piece in script.events:
            await self._gate.acquire()
            await response.write(piece)
        return response


@asynccontextmanager
async def raw_stream(gateway: RunningGateway, **fields: Any) -> AsyncIterator[aiohttp.ClientResponse]:
    body = json.dumps(CHAT | {"stream": True} | fields)
    async with (
        asyncio.timeout(HANG_S),
        aiohttp.ClientSession() as session,
        session.post(gateway.url + CHAT_PATH, data=body) as answer,
    ):
        yield answer


async def next_event(answer: aiohttp.ClientResponse) -> bytes:
    return await answer.content.readuntil(b"\n\n")


async def test_each_event_reaches_the_client_before_the_next_one_exists(tmp_path: Path) -> None:
    miner = Gated()
    async with running_gateway(tmp_path, miner) as gateway:
        miner.step()
        async with raw_stream(gateway) as answer:
            assert b"assistant" in await next_event(answer)
            for word in [b"Miners", b" answer", b" honestly"]:
                miner.step()
                assert word in await next_event(answer)
            assert gateway.records() == [], "nothing is recorded before the end"
            miner.step(3)
            assert b'"."' in await next_event(answer)
            assert await next_event(answer) == b"data: [DONE]\n\n"
            assert len(gateway.records()) == 1, "the record is written before the client sees the end"
            assert await answer.content.read() == b""


async def test_the_bytes_of_events_are_passed_on_unchanged(tmp_path: Path) -> None:
    sent: list[bytes] = []

    async def remember(request: web.Request, script: Script) -> web.StreamResponse:
        sent.extend(script.events)
        return await script.stream(request, *script.events)

    async with running_gateway(tmp_path, remember) as gateway, raw_stream(gateway) as answer:
        got = await answer.read()
        receipt = sent[-2]
        assert b'"receipt"' in receipt
        assert got == b"".join(sent).replace(receipt, b"")
        assert answer.headers["content-type"].startswith("text/event-stream")


async def test_times_are_measured_on_arrival(tmp_path: Path) -> None:
    miner = Gated()
    async with running_gateway(tmp_path, miner) as gateway, raw_stream_task(gateway) as events:
        await miner.started.wait()
        gateway.clock.advance(0.25)
        miner.step()
        await events.get()
        gateway.clock.advance(0.5)
        miner.step()
        await events.get()
        gateway.clock.advance(1.0)
        miner.step(5)
        (record,) = await gateway.records_when(1)
        assert record.ttft_ms == 750.0, "the first event with a token, not the role before it"
        assert record.duration_ms == 1750.0
        assert record.finished_at_ms - record.started_at_ms == 1750
        assert record.output_tokens == 4


@asynccontextmanager
async def raw_stream_task(gateway: RunningGateway) -> AsyncIterator["asyncio.Queue[bytes]"]:
    """A client that reads in the background; its events arrive in a queue."""
    events: asyncio.Queue[bytes] = asyncio.Queue()

    async def read() -> None:
        async with raw_stream(gateway) as answer:
            while True:
                await events.put(await next_event(answer))

    task = asyncio.create_task(read())
    try:
        async with asyncio.timeout(HANG_S):
            yield events
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_client_that_leaves_cancels_the_miner_at_once(tmp_path: Path) -> None:
    miner = Gated()
    async with running_gateway(tmp_path, miner) as gateway:
        miner.step(3)
        async with raw_stream(gateway) as answer:
            for _ in range(3):
                await next_event(answer)
        (record,) = await gateway.records_when(1)
        async with asyncio.timeout(HANG_S):
            await gateway.miners[0].cancelled.wait()
        assert (record.outcome, record.error, record.receipt) == ("client_left", None, None)
        assert record.choices[0].output_token_ids == tuple(WORD_IDS[:2]), "what was served is recorded"
        assert gateway.parts.table.get(0).in_flight == 0


async def test_a_client_that_leaves_before_the_first_event_is_noticed(tmp_path: Path) -> None:
    for stream in (True, False):
        miner = Gated()
        async with running_gateway(tmp_path / str(stream), miner) as gateway:
            task = asyncio.create_task(leave_unread(gateway, stream))
            await miner.started.wait()
            task.cancel()
            (record,) = await gateway.records_when(1)
            async with asyncio.timeout(HANG_S):
                await gateway.miners[0].cancelled.wait()
            assert (record.outcome, record.output_tokens) == ("client_left", 0)


async def leave_unread(gateway: RunningGateway, stream: bool) -> None:
    async with raw_stream(gateway, stream=stream) as answer:
        await answer.read()


async def test_a_client_that_leaves_an_answer_in_one_piece_cancels_the_miner_at_once(tmp_path: Path) -> None:
    async def never(request: web.Request, script: Script) -> web.StreamResponse:
        await asyncio.Event().wait()
        return web.Response()

    async with running_gateway(tmp_path, never) as gateway:
        leaving = asyncio.create_task(gateway.openai.chat.completions.create(**CHAT))
        async with asyncio.timeout(HANG_S):
            while not gateway.miners[0].bodies:
                await asyncio.sleep(0)
            leaving.cancel()
            await gateway.miners[0].cancelled.wait()
        (record,) = await gateway.records_when(1)
        assert record.outcome == "client_left"
        assert gateway.parts.table.get(0).in_flight == 0


async def test_a_client_that_leaves_does_not_make_the_miner_rest(tmp_path: Path) -> None:
    miner = Gated()
    async with running_gateway(tmp_path, miner) as gateway:
        miner.step(2)
        async with raw_stream(gateway) as answer:
            await next_event(answer)
        await gateway.records_when(1)
        assert gateway.parts.table.breaker_states() == {0: "closed"}


async def test_the_load_of_a_miner_is_seen_while_it_works(tmp_path: Path) -> None:
    miner = Gated()
    async with running_gateway(tmp_path, miner) as gateway:
        miner.step()
        async with raw_stream(gateway) as answer:
            await next_event(answer)
            assert gateway.parts.table.get(0).in_flight == 1
            miner.step(6)
            await answer.read()
        assert gateway.parts.table.get(0).in_flight == 0


async def test_connections_to_miners_are_used_again(tmp_path: Path) -> None:
    peers: list[object] = []

    async def note_peer(request: web.Request, script: Script) -> web.StreamResponse:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return await script.stream(request, *script.events)

    async with running_gateway(tmp_path, note_peer) as gateway:
        async with aiohttp.ClientSession() as session:
            for _ in range(3):
                body = json.dumps(CHAT | {"stream": True})
                async with session.post(gateway.url + CHAT_PATH, data=body) as answer:
                    await answer.read()
                await gateway.idle()
        assert len(set(peers)) == 1
