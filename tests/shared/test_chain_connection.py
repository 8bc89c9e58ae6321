"""Giving a connection up, whatever the SDK swallows: a socket of ours in the place of the network."""

import asyncio
import gc
import json

import pytest
from bittensor._transport.errors import SubstrateRequestException
from bittensor._transport.rpc import RpcSession
from websockets.exceptions import ConnectionClosedError

from shared.chain_connection import ChainConnection
from shared.chain_network import Endpoint
from shared.deadline import within

ENDPOINT = Endpoint("ws://nowhere:1")
UNHURRIED_S = 30.0


class Transport:
    def __init__(self) -> None:
        self.aborted = asyncio.Event()

    def abort(self) -> None:
        self.aborted.set()


class SwallowingSocket:
    """A frame arrives whenever its reader is cancelled, as it may on Python 3.11; only an abort ends it."""

    close_code = None

    def __init__(self) -> None:
        self.transport = Transport()
        self.swallowed = 0
        self.sent: list[str] = []

    async def send(self, message: str) -> None:
        self.sent.append(message)

    async def recv(self) -> str:
        try:
            await self.transport.aborted.wait()
        except asyncio.CancelledError:
            self.swallowed += 1
            return json.dumps({"jsonrpc": "2.0", "method": "nothing"})
        raise ConnectionClosedError(None, None)

    async def close(self) -> None:
        await self.transport.aborted.wait()


async def test_the_sdks_own_close_does_not_end_when_its_loop_swallows_the_cancellation() -> None:
    """The reason for all this: without an abort the SDK waits for ever."""
    socket = SwallowingSocket()

    async def dial(url: str) -> SwallowingSocket:
        return socket

    session = RpcSession("ws://nowhere:1", connect_factory=dial)
    await session.connect()
    closing = asyncio.create_task(session.close())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not closing.done()
    assert socket.swallowed
    socket.transport.abort()
    await closing


async def opened(socket: SwallowingSocket) -> tuple[ChainConnection, "asyncio.Task[None]"]:
    """A connection whose opening waits for an answer."""

    async def dial(url: str) -> SwallowingSocket:
        return socket

    connection = ChainConnection(ENDPOINT, dial)
    opening = asyncio.create_task(connection.open())
    while not socket.sent:
        await asyncio.sleep(0)
    return connection, opening


async def test_giving_up_ends_every_task_of_the_sdk_also_one_that_swallows_its_cancellation() -> None:
    before = asyncio.all_tasks()
    connection, opening = await opened(SwallowingSocket())
    connection.give_up()
    with pytest.raises(Exception, match=r".+"):
        await asyncio.wait_for(opening, UNHURRIED_S)
    async with asyncio.timeout(UNHURRIED_S):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0)


async def test_what_was_given_up_opens_nothing_any_more() -> None:
    connection, opening = await opened(SwallowingSocket())
    connection.give_up()
    with pytest.raises(Exception, match=r".+"):
        await opening
    with pytest.raises(Exception, match="given up"):
        await connection.open()


async def test_a_dial_that_ends_after_giving_up_is_aborted() -> None:
    socket, dialled, go_on = SwallowingSocket(), asyncio.Event(), asyncio.Event()

    async def dial(url: str) -> SwallowingSocket:
        dialled.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue
        return socket

    connection = ChainConnection(ENDPOINT, dial)
    opening = asyncio.create_task(connection.open())
    await dialled.wait()
    connection.give_up()
    go_on.set()
    with pytest.raises(Exception, match=r".+"):
        await asyncio.wait_for(opening, UNHURRIED_S)
    assert socket.transport.aborted.is_set()


async def test_a_deadline_holds_for_what_swallows_its_cancellation() -> None:
    go_on = asyncio.Event()

    async def stubborn() -> None:
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    with pytest.raises(TimeoutError, match=r"no answer in 0\.01 s"):
        await within(0.01, stubborn())
    go_on.set()


async def test_within_its_deadline_a_call_returns_and_raises_what_it_will() -> None:
    async def answer() -> int:
        return 7

    async def fail() -> None:
        raise SubstrateRequestException("no")

    assert await within(UNHURRIED_S, answer()) == 7
    with pytest.raises(SubstrateRequestException, match="no"):
        await within(UNHURRIED_S, fail())


async def test_the_end_of_the_caller_is_passed_on_and_not_waited_for() -> None:
    reached, cancelled = asyncio.Event(), asyncio.Event()

    async def call() -> None:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    caller = asyncio.create_task(within(UNHURRIED_S, call()))
    await reached.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(cancelled.wait(), UNHURRIED_S)


async def test_a_failure_that_comes_together_with_the_callers_end_is_not_complained_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fail = asyncio.Event()

    async def call() -> None:
        await fail.wait()
        raise SubstrateRequestException("no")

    caller = asyncio.create_task(within(UNHURRIED_S, call()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    fail.set()
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises((asyncio.CancelledError, SubstrateRequestException)):
        await caller
    del caller
    gc.collect()
    assert caplog.records == []
