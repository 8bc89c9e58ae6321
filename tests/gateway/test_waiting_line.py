"""Requests wait for a busy miner in order, few and briefly; no place is lost or given twice."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web

from gateway.breaker import Breaker
from gateway.errors import ApiError, no_miner_available
from gateway.miner_answer import error_answer
from gateway.miner_choice import Place
from gateway.miners import Endpoint, KnownMiner, MinerListing
from gateway.standings import AuditStanding
from gateway.waiting_line import WaitingLine
from tests.gateway.running_gateway import CHAT, HANG_S, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import Script, honest
from tests.gateway.test_streaming import Gated, raw_stream

EVENTS = 7
"""Of a scripted miner's stream."""


class Rooms:
    """Miners' room, as the line sees it: so many places are free."""

    def __init__(self, free: int) -> None:
        self.free = free
        listing = MinerListing(1, keypair("Alice").ss58_address, None)
        self.miner = KnownMiner(listing, Endpoint(None))

    def could_use(self, miner: KnownMiner) -> bool:
        return miner is self.miner

    def take(self) -> Place | None:
        if not self.free:
            return None
        self.free -= 1
        return Place(self.miner, self.miner.begin(0.0), 0)


async def in_line(line: WaitingLine, rooms: Rooms, count: int) -> list[asyncio.Task[Place]]:
    tasks = [asyncio.create_task(line.place(rooms.take, rooms.could_use)) for _ in range(count)]
    while len(line) < count:
        await asyncio.sleep(0)
    return tasks


async def test_a_free_miner_is_had_at_once() -> None:
    line, rooms = WaitingLine(0, 1.0), Rooms(1)
    assert (await line.place(rooms.take, rooms.could_use)).miner is rooms.miner


async def test_whoever_came_first_is_served_first() -> None:
    line, rooms = WaitingLine(10, HANG_S), Rooms(0)
    first, second = await in_line(line, rooms, 2)
    rooms.free = 1
    line.freed(rooms.miner)
    await first
    assert not second.done()
    rooms.free = 1
    line.freed(rooms.miner)
    await second
    assert len(line) == 0


async def test_a_newcomer_does_not_overtake() -> None:
    line, rooms = WaitingLine(10, HANG_S), Rooms(0)
    (first,) = await in_line(line, rooms, 1)
    rooms.free = 1
    line.freed(rooms.miner)
    newcomer = asyncio.create_task(line.place(rooms.take, rooms.could_use))
    await first
    await asyncio.sleep(0)
    assert not newcomer.done()
    newcomer.cancel()


async def test_who_can_use_a_place_does_not_wait_behind_who_can_not() -> None:
    line, full, rooms = WaitingLine(10, HANG_S), Rooms(0), Rooms(0)
    (stuck,) = await in_line(line, full, 1)
    later = asyncio.create_task(line.place(rooms.take, rooms.could_use))
    while len(line) < 2:
        await asyncio.sleep(0)
    rooms.free = full.free = 1
    line.freed(rooms.miner)
    await later
    assert not stuck.done(), "it is asked when the miner that it wants is free"
    line.freed(full.miner)
    await stuck


async def test_a_full_line_and_a_long_wait_are_503_with_a_time_to_retry() -> None:
    rooms = Rooms(0)
    for line in (WaitingLine(0, HANG_S), WaitingLine(5, 0.01)):
        with pytest.raises(ApiError) as caught:
            await line.place(rooms.take, rooms.could_use)
        assert (caught.value.status, caught.value.code) == (503, "overloaded")
        assert int(caught.value.headers["retry-after"]) > 0
        assert len(line) == 0


async def test_a_request_that_is_called_off_leaves_the_line_and_gives_back_what_it_just_got() -> None:
    line, rooms = WaitingLine(5, HANG_S), Rooms(0)
    (early,) = await in_line(line, rooms, 1)
    early.cancel()
    rooms.free = 1
    line.freed(rooms.miner)
    await asyncio.gather(early, return_exceptions=True)
    assert (len(line), rooms.free, rooms.miner.in_flight) == (0, 1, 0)
    rooms.free = 0
    (late,) = await in_line(line, rooms, 1)
    rooms.free = 1
    line.freed(rooms.miner)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert late.cancelled()
    assert rooms.miner.in_flight == 0
    assert isinstance(rooms.miner.breaker, Breaker)


async def test_a_request_that_nobody_can_serve_any_more_is_told_so() -> None:
    line, gone = WaitingLine(5, HANG_S), list[bool]()

    def take() -> Place | None:
        if gone:
            raise no_miner_available("m")
        return None

    task = asyncio.create_task(line.place(take, lambda _: True))
    while not len(line):
        await asyncio.sleep(0)
    gone.append(True)
    line.freed(Rooms(0).miner)
    with pytest.raises(ApiError) as caught:
        await task
    assert caught.value.code == "no_miner_available"


async def waiting(gateway: RunningGateway, count: int) -> None:
    async with asyncio.timeout(HANG_S):
        while len(gateway.parts.line) < count:
            await asyncio.sleep(0)


async def test_a_miner_gets_no_more_at_once_than_is_allowed_and_the_others_wait(tmp_path: Path) -> None:
    miner = Gated()
    miner.step()
    async with (
        running_gateway(tmp_path, miner, miner_concurrency=1) as gateway,
        raw_stream(gateway) as first,
    ):
        second = asyncio.create_task(gateway.openai.chat.completions.create(**CHAT, stream=True))
        await waiting(gateway, 1)
        assert len(gateway.miners[0].bodies) == 1
        miner.step(EVENTS)
        await first.read()
        stream = await second
        assert len(gateway.miners[0].bodies) == 2
        await stream.close()


async def test_who_waits_too_long_or_finds_too_many_waiting_is_told_to_come_back(tmp_path: Path) -> None:
    miner = Gated()
    miner.step()
    bounds: dict[str, Any] = {"miner_concurrency": 1, "max_waiting": 1, "waiting_seconds": 0.2}
    async with running_gateway(tmp_path, miner, **bounds) as gateway, raw_stream(gateway):
        second = asyncio.create_task(gateway.openai.chat.completions.create(**CHAT))
        await waiting(gateway, 1)
        for refused in (gateway.openai.chat.completions.create(**CHAT), second):
            with pytest.raises(openai.InternalServerError) as caught:
                await refused
            assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
            assert caught.value.response.headers["retry-after"] == "5"
        assert len(gateway.miners[0].bodies) == 1


async def test_what_is_too_much_waits_and_does_not_go_to_a_miner_that_rests(tmp_path: Path) -> None:
    bounds: dict[str, Any] = {"miner_concurrency": 1, "waiting_seconds": 0.05}
    async with running_gateway(tmp_path, honest, honest, **bounds) as gateway:
        good, bad = gateway.parts.table.all()
        good.in_flight = 1
        for rejected in (False, True):
            gateway.clock.advance(1000)
            if rejected:
                gateway.parts.provenance.standings.replace({bad.hotkey: AuditStanding(9, 0, True, 1)})
            else:
                bad.failed(bad.begin(gateway.clock.now_s), gateway.clock.now_s)
                bad.end()
            with pytest.raises(openai.InternalServerError) as caught:
                await gateway.openai.chat.completions.create(**CHAT)
            assert caught.value.code == "overloaded"
        assert gateway.records() == []
        good.in_flight = 0
        await gateway.openai.chat.completions.create(**CHAT)
        assert gateway.records()[0].miner_uid == 0


async def test_a_client_that_leaves_while_it_waits_leaves_the_line(tmp_path: Path) -> None:
    miner = Gated()
    miner.step()
    async with running_gateway(tmp_path, miner, miner_concurrency=1) as gateway, raw_stream(gateway):
        leaving = asyncio.create_task(gateway.openai.chat.completions.create(**CHAT))
        await waiting(gateway, 1)
        leaving.cancel()
        async with asyncio.timeout(HANG_S):
            while len(gateway.parts.line):
                await asyncio.sleep(0)
        assert len(gateway.miners[0].bodies) == 1


async def test_when_all_miners_are_overloaded_the_client_is_told_when_to_return(tmp_path: Path) -> None:
    async def busy(request: web.Request, script: Script) -> web.StreamResponse:
        return web.json_response({}, status=503, headers={"retry-after": "17"})

    async def broken(request: web.Request, script: Script) -> web.StreamResponse:
        return web.json_response({}, status=500, headers={"retry-after": "17"})

    for second, status, code in ((busy, 503, "overloaded"), (broken, 502, "miner_failed")):
        async with running_gateway(tmp_path / code, busy, second) as gateway:
            with pytest.raises(openai.InternalServerError) as caught:
                await gateway.openai.chat.completions.create(**CHAT)
            assert (caught.value.status_code, caught.value.code) == (status, code)
            assert caught.value.response.headers.get("retry-after") == ("17" if status == 503 else None)


@pytest.mark.parametrize(
    "retry_after", ["-5", "soon", "1e9", "٣", "9" * 40, "Wed, 21 Oct 2026 07:28:00 GMT", ""]
)
async def test_a_time_to_retry_that_is_no_number_of_seconds_counts_as_none(retry_after: str) -> None:
    assert error_answer(429, b"{}", retry_after).wait_s == 0.0
    assert error_answer(429, b"{}", " 12 ").wait_s == 12.0
    assert error_answer(500, b"{}", "12").wait_s is None


async def test_an_overloaded_miner_is_left_alone_as_long_as_it_asks_and_charged_once(tmp_path: Path) -> None:
    async def busy(request: web.Request, script: Script) -> web.StreamResponse:
        error = {"error": {"message": "too many requests"}}
        return web.json_response(error, status=429, headers={"retry-after": "17"})

    async with running_gateway(tmp_path, busy, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        record = gateway.records()[0]
        assert (record.outcome, record.http_status) == ("failed", 429)
        miner = gateway.parts.table.get(0)
        assert miner.breaker.ready_at_s == gateway.clock.now_s + 17
        assert miner.breaker.failures_in_a_row == 0
        assert miner.success_rate(gateway.clock.now_s) == 1.0
        await gateway.openai.chat.completions.create(**CHAT)
        assert len(gateway.miners[0].bodies) == 1
