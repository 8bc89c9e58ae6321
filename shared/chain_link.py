"""The way to the chain: an endpoint that works, deadlines on everything, and word when the chain stands."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from bittensor.result import RpcPolicyError

from shared.chain_connection import ChainConnection
from shared.chain_endpoints import EndpointPool
from shared.chain_failures import (
    SDK_FAILURES,
    NodeRefused,
    is_word_of_the_chain,
    refused,
    unavailable,
)
from shared.chain_head import LEAD_BLOCKS, HeadWatch
from shared.chain_network import Endpoint, endpoints_of
from shared.deadline import within
from shared.errors import ChainError, ChainUnavailable, OutcomeUnknown

log = logging.getLogger(__name__)

T = TypeVar("T")
Read = Callable[[Any], Awaitable[T]]
"""Asks something of the SDK's client."""

MOST_TRIES = 3
"""Endpoints that one read is asked of."""

LOOK_ELSEWHERE_S = 60.0
"""Between two comparisons of a standing endpoint with the others."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds for one attempt. A read has three at most, so that it ends within 75 s."""

    open_s: float = 10.0
    """Websocket, runtime version and, once a release of the chain, 400 kB of metadata."""
    read_s: float = 15.0
    """A metagraph of 256 neurons is one call of about a second over the internet."""
    write_s: float = 120.0
    """An extrinsic, finality awaited: ten blocks of 12 s, where four are usual."""


@dataclass(frozen=True)
class Environment:
    """Clocks and chance, so that tests hold them."""

    monotonic_s: Callable[[], float] = time.monotonic
    unix_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    chance: Callable[[], float] = random.random
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class ChainLink:
    """Calls to the chain, each over whichever endpoint works.

    Attributes:
        trouble: what is wrong with the chain as it is seen from here, in words; None when nothing is.
    """

    def __init__(self, network: str, deadlines: Deadlines, around: Environment) -> None:
        self._deadlines, self._around = deadlines, around
        self._pool = EndpointPool(endpoints_of(network), around.monotonic_s, around.chance)
        self._connection: ChainConnection | None = None
        self._head = self._new_watch()
        self._compared_at_s: float | None = None
        self._opening = asyncio.Lock()
        self._last_failure = ""
        self.trouble: str | None = None

    def _new_watch(self) -> HeadWatch:
        return HeadWatch(self._around.monotonic_s, self._around.unix_ms)

    async def read(self, what: str, call: Read[T]) -> T:
        """What `call` returns, asked of one endpoint after the other until one answers.

        Raises:
            ChainUnavailable: none answered in time.
            ChainError: `call` raised it, or an endpoint named an error that the others have too.
        """
        tries = max(2, min(MOST_TRIES, len(self._pool)))
        for _ in range(tries - 1):
            try:
                return await self._attempt(what, call)
            except ChainUnavailable as error:
                log.info("%s; trying again", error)
            except NodeRefused as error:
                if len(self._pool) == 1:
                    raise
                log.info("%s; asking another endpoint", error)
                self._leave()
        return await self._attempt(what, call)

    async def write(self, what: str, call: Read[T]) -> T:
        """What `call`, which sends an extrinsic, returns, asked of one endpoint once.

        Raises:
            OutcomeUnknown: it may have been done.
            ChainUnavailable: nothing was sent.
            ChainError: the chain refused it.
        """
        connection = await self._connected(what)
        before = connection.submissions
        try:
            return await self._ask(connection, what, self._deadlines.write_s, call)
        except OutcomeUnknown:
            raise
        except ChainUnavailable as error:
            if connection.submissions == before:
                raise
            raise OutcomeUnknown(str(error)) from error

    async def _attempt(self, what: str, call: Read[T]) -> T:
        return await self._ask(await self._connected(what), what, self._deadlines.read_s, call)

    async def _connected(self, what: str) -> ChainConnection:
        async with self._opening:
            if self._connection is None:
                endpoint = self._pool.next()
                if endpoint is None:
                    rest_s = self._pool.resting_s()
                    raise ChainUnavailable(
                        f"{what} failed: no endpoint answers; the next is tried in {rest_s:.0f} s; "
                        f"last, {self._last_failure}"
                    )
                self._connection = await self._open(what, endpoint)
                self._head = self._new_watch()
            return self._connection

    async def _open(self, what: str, endpoint: Endpoint) -> ChainConnection:
        connection = ChainConnection(endpoint)
        opened = False
        try:
            await within(self._deadlines.open_s, connection.open())
            opened = True
        except SDK_FAILURES as error:
            self._pool.failed(endpoint, told_to_wait=isinstance(error, RpcPolicyError))
            raise self._noted(unavailable(what, endpoint, error)) from error
        finally:
            if not opened:
                connection.give_up()
        return connection

    async def _ask(self, connection: ChainConnection, what: str, deadline_s: float, call: Read[T]) -> T:
        async def asked() -> T:
            return await call(connection.client)

        try:
            answer = await within(deadline_s, asked())
        except OutcomeUnknown as error:
            self._drop(connection)
            raise OutcomeUnknown(f"{what} at {connection.endpoint.shown}: {error}") from error
        except ChainError:
            raise
        except SDK_FAILURES as error:
            if is_word_of_the_chain(error):
                raise refused(what, error) from error
            self._drop(connection, told_to_wait=isinstance(error, RpcPolicyError))
            raise self._noted(unavailable(what, connection.endpoint, error)) from error
        self._pool.worked(connection.endpoint)
        return answer

    def _noted(self, failure: ChainUnavailable) -> ChainUnavailable:
        self._last_failure = str(failure)
        return failure

    def _leave(self) -> None:
        if self._connection is not None:
            self._drop(self._connection)

    def _drop(self, connection: ChainConnection, told_to_wait: bool = False) -> None:
        connection.give_up()
        if self._connection is connection:
            self._connection = None
            self._pool.failed(connection.endpoint, told_to_wait)

    async def saw_head(self, number: int, timestamp_ms: int | None = None) -> bool:
        """Note the newest block of the endpoint in use. True: another endpoint is ahead, and is used now.

        A chain that stands at every endpoint is told in the log and in `trouble`, and used as it is.
        """
        self._head.note(number, timestamp_ms)
        trouble = self._head.trouble()
        moved = trouble is not None and self._may_compare() and await self._go_ahead(trouble)
        self._tell(None if moved else trouble)
        return moved

    def _may_compare(self) -> bool:
        now_s = self._around.monotonic_s()
        if self._compared_at_s is not None and now_s - self._compared_at_s < LOOK_ELSEWHERE_S:
            return False
        self._compared_at_s = now_s
        return True

    async def _go_ahead(self, trouble: str) -> bool:
        current = self._connection
        if current is None:
            return False
        for endpoint in self._pool.others(current.endpoint):
            better = await self._ahead(endpoint)
            if better is not None:
                log.warning("%s at %s; going on at %s", trouble, current.endpoint.shown, endpoint.shown)
                self._drop(current)
                self._pool.worked(endpoint)
                self._connection, self._head = better, self._new_watch()
                return True
        return False

    async def _ahead(self, endpoint: Endpoint) -> ChainConnection | None:
        """A connection to the endpoint, if it is ahead of the one in use."""
        better = False
        try:
            connection = await self._open("looking for a better endpoint", endpoint)
        except ChainUnavailable as error:
            log.info("%s", error)
            return None
        try:
            number = await within(self._deadlines.read_s, connection.client.block())
            better = int(number) >= self._head.number + LEAD_BLOCKS
        except SDK_FAILURES as error:
            log.info("%s", unavailable("looking for a better endpoint", endpoint, error))
        finally:
            if not better:
                connection.give_up()
        return connection if better else None

    def _tell(self, trouble: str | None) -> None:
        if trouble is not None and self.trouble is None:
            log.error("no endpoint that answers follows the chain: %s", trouble)
        if trouble is None and self.trouble is not None:
            log.info("the chain is followed again")
        self.trouble = trouble

    def close(self) -> None:
        """Give the connection up. Takes no time; a later call opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up()
