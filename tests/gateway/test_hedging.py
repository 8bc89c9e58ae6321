"""A slow stream is raced by a second miner: one serves, the other is called off, and nobody pays twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway.hedging import FEWEST_TIMES, Hedging
from gateway.pace import Measured, prompt_band
from shared.records import RequestRecord
from tests.gateway.calling_miner import anthropic_client
from tests.gateway.running_gateway import CHAT, HANG_S, FakeClock, RunningGateway, running_gateway
from tests.gateway.scripted_miner import WORDS, Behaviour, Script, honest
from tests.gateway.test_streaming import raw_stream


class Changing:
    """A miner that behaves as it is told at the moment; honestly at first."""

    def __init__(self) -> None:
        self.behaviour: Behaviour = honest
        self.asked = asyncio.Event()

    async def __call__(self, request: web.Request, script: Script) -> web.StreamResponse:
        self.asked.set()
        return await self.behaviour(request, script)


async def hang(request: web.Request, script: Script) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


async def fail(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "broken"}}, status=500)


@asynccontextmanager
async def hedging_gateway(
    tmp_path: Path, *miners: Changing, **settings: Any
) -> AsyncIterator[RunningGateway]:
    """A gateway that has seen enough streams, all of which began in no time, to hedge at once."""
    async with running_gateway(tmp_path, *miners, **({"hedge": True} | settings)) as gateway:
        for _ in range(FEWEST_TIMES):
            await chat(gateway)
        for miner in miners:
            miner.asked.clear()
        yield gateway


async def chat(gateway: RunningGateway) -> str:
    async with asyncio.timeout(HANG_S):
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def new_records(gateway: RunningGateway, count: int) -> list[RequestRecord]:
    await gateway.idle()
    records = gateway.records()[FEWEST_TIMES:]
    assert len(records) == count
    assert all(miner.in_flight == 0 for miner in gateway.parts.table.all())
    return records


async def test_the_second_miner_serves_when_the_first_is_silent(tmp_path: Path) -> None:
    slow, quick = Changing(), Changing()
    async with hedging_gateway(tmp_path, slow, quick) as gateway:
        slow.behaviour = hang
        assert await chat(gateway) == "".join(WORDS)
        called_off, served = sorted(await new_records(gateway, 2), key=lambda one: one.miner_uid)
        assert (served.miner_uid, served.outcome) == (1, "answered")
        assert (called_off.miner_uid, called_off.outcome, called_off.error) == (0, "client_left", None)
        assert called_off.output_tokens == 0
        assert called_off.client_request == served.client_request == called_off.request_id
        async with asyncio.timeout(HANG_S):
            await gateway.miners[0].cancelled.wait()
        assert gateway.parts.table.breaker_states() == {0: "closed", 1: "closed"}
        assert gateway.parts.table.get(0).success_rate(gateway.clock.now_s) == 1.0


async def test_a_message_that_is_raced_is_streamed_in_anthropics_events(tmp_path: Path) -> None:
    slow, quick = Changing(), Changing()
    async with hedging_gateway(tmp_path, slow, quick) as gateway:
        slow.behaviour = hang
        async with anthropic_client(gateway).messages.stream(**CHAT, max_tokens=50) as stream:
            message = await stream.get_final_message()
        assert message.content[0].text == "".join(WORDS)
        assert {record.outcome for record in await new_records(gateway, 2)} == {"client_left", "answered"}


async def test_the_first_miner_serves_when_it_begins_before_the_second(tmp_path: Path) -> None:
    first, second = Changing(), Changing()

    async def late(request: web.Request, script: Script) -> web.StreamResponse:
        await second.asked.wait()
        return await honest(request, script)

    async with hedging_gateway(tmp_path, first, second) as gateway:
        first.behaviour, second.behaviour = late, hang
        assert await chat(gateway) == "".join(WORDS)
        records = {record.miner_uid: record.outcome for record in await new_records(gateway, 2)}
        assert records == {0: "answered", 1: "client_left"}


async def test_nobody_is_hedged_unless_it_is_asked_for(tmp_path: Path) -> None:
    slow, quick = Changing(), Changing()
    async with hedging_gateway(tmp_path, slow, quick, hedge=False, first_byte_timeout_s=0.2) as gateway:
        slow.behaviour = hang
        assert await chat(gateway) == "".join(WORDS)
        assert [record.outcome for record in await new_records(gateway, 2)] == ["failed", "answered"]


async def test_a_miner_that_always_hangs_is_charged_once_its_budget_is_used_up(tmp_path: Path) -> None:
    slow, quick = Changing(), Changing()
    async with hedging_gateway(tmp_path, slow, quick, first_byte_timeout_s=0.2) as gateway:
        slow.behaviour = hang
        outcomes = list[str]()
        while "failed" not in outcomes and len(outcomes) < 40:
            await chat(gateway)
            await gateway.idle()
            outcomes = [one.outcome for one in gateway.records()[FEWEST_TIMES:] if one.miner_uid == 0]
        assert 1 <= outcomes.count("client_left") <= 2
        assert outcomes[-1] == "failed"


async def test_when_both_fail_the_client_is_told_and_both_are_charged(tmp_path: Path) -> None:
    first, second = Changing(), Changing()

    async def fail_late(request: web.Request, script: Script) -> web.StreamResponse:
        await second.asked.wait()
        return await fail(request, script)

    async with hedging_gateway(tmp_path, first, second) as gateway:
        first.behaviour, second.behaviour = fail_late, fail
        with pytest.raises(openai.InternalServerError) as caught:
            await chat(gateway)
        assert caught.value.code == "miner_failed"
        assert [record.outcome for record in await new_records(gateway, 2)] == ["failed", "failed"]


async def test_a_second_miner_that_fails_leaves_the_first_to_serve(tmp_path: Path) -> None:
    first, second = Changing(), Changing()

    async def late(request: web.Request, script: Script) -> web.StreamResponse:
        async with asyncio.timeout(HANG_S):
            while "failed" not in (outcomes := [one.outcome for one in made[0].records()]):
                await asyncio.sleep(0)
        assert outcomes
        return await honest(request, script)

    made: list[RunningGateway] = []
    async with hedging_gateway(tmp_path, first, second) as gateway:
        made.append(gateway)
        first.behaviour, second.behaviour = late, fail
        assert await chat(gateway) == "".join(WORDS)
        records = {record.miner_uid: record.outcome for record in await new_records(gateway, 2)}
        assert records == {0: "answered", 1: "failed"}


async def test_a_client_that_leaves_during_the_race_stops_both_miners(tmp_path: Path) -> None:
    first, second = Changing(), Changing()
    async with hedging_gateway(tmp_path, first, second) as gateway:
        first.behaviour = second.behaviour = hang
        leaving = asyncio.create_task(_open_and_wait(gateway))
        async with asyncio.timeout(HANG_S):
            await second.asked.wait()
            leaving.cancel()
            for miner in gateway.miners:
                await miner.cancelled.wait()
        assert {record.outcome for record in await new_records(gateway, 2)} == {"client_left"}


async def _open_and_wait(gateway: RunningGateway) -> None:
    async with raw_stream(gateway) as answer:
        await answer.read()


async def test_answers_in_one_piece_are_not_hedged(tmp_path: Path) -> None:
    slow, quick = Changing(), Changing()
    async with hedging_gateway(tmp_path, slow, quick, answer_timeout_s=0.3) as gateway:
        slow.behaviour = hang
        await gateway.openai.chat.completions.create(**CHAT)
        assert [record.outcome for record in await new_records(gateway, 2)] == ["failed", "answered"]


def test_the_wait_is_the_bands_own_95th_percentile() -> None:
    hedging, band = Hedging(FakeClock()), prompt_band(100)
    for number in range(100):
        hedging.note(Measured(band, number / 100, 1.0, 10, 0, streamed=True))
    assert hedging.delay_s(band) == 0.95
    assert hedging.delay_s(band + 1) is None
