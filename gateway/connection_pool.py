"""Open connections to miners, kept for a moment after each answer and used again."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from urllib.parse import urlsplit

from gateway.miner_connection import MinerConnection

IDLE_CONNECTION_S = 3.0
"""How long unused connections are kept: less than the 5 s after which a miner's server drops them, so that
no request meets a connection that is just being closed."""

SWEEP_S = 1.0


class CannotConnect(OSError):
    """Nobody accepts the connection, or not in time."""


class ConnectionPool:
    """Connections by the URL of the miner. The last one used is used first, so that surplus ones grow old."""

    def __init__(self, connect_timeout_s: float) -> None:
        self._connect_timeout_s = connect_timeout_s
        self._loop = asyncio.get_running_loop()
        self._idle: dict[str, deque[tuple[float, MinerConnection]]] = {}
        self._open: set[MinerConnection] = set()
        self._sweep_timer: asyncio.TimerHandle | None = None

    def idle(self, url: str) -> MinerConnection | None:
        """A connection that was used before; None when there is none."""
        waiting = self._idle.get(url)
        while waiting:
            since_s, connection = waiting.pop()
            if connection.reusable and self._loop.time() - since_s < IDLE_CONNECTION_S:
                return connection
            self.drop(connection)
        return None

    async def connect(self, url: str, until_s: float) -> MinerConnection:
        """A new connection.

        Raises:
            CannotConnect: refused; with a TimeoutError as its cause if there was no answer in time.
        """
        host, port = _address(url)
        try:
            async with asyncio.timeout_at(min(until_s, self._loop.time() + self._connect_timeout_s)):
                _, connection = await self._loop.create_connection(MinerConnection, host, port)
        except OSError as error:
            raise CannotConnect("no connection") from error
        self._open.add(connection)
        return connection

    def give_back(self, url: str, connection: MinerConnection) -> None:
        """Keep a connection whose answer was read to its end, for the next request; end any other."""
        if not connection.finished():
            self.drop(connection)
            return
        self._idle.setdefault(url, deque()).append((self._loop.time(), connection))
        if self._sweep_timer is None:
            self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep)

    def drop(self, connection: MinerConnection) -> None:
        """End a connection at once."""
        self._open.discard(connection)
        connection.close()

    def _sweep(self) -> None:
        """Drop what has not been used for too long."""
        oldest_s = self._loop.time() - IDLE_CONNECTION_S
        for url, waiting in list(self._idle.items()):
            while waiting and (waiting[0][0] <= oldest_s or not waiting[0][1].reusable):
                self.drop(waiting.popleft()[1])
            if not waiting:
                del self._idle[url]
        again = bool(self._idle)
        self._sweep_timer = self._loop.call_later(SWEEP_S, self._sweep) if again else None

    def close(self) -> None:
        """End every connection."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._idle.clear()
        for connection in list(self._open):
            self.drop(connection)


@lru_cache(maxsize=4096)
def _address(url: str) -> tuple[str, int]:
    """Host and port of a miner's URL, which `shared.addresses` made."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


@asynccontextmanager
async def open_pool(connect_timeout_s: float) -> AsyncIterator[ConnectionPool]:
    """A pool in the running event loop; its connections are ended with the block."""
    pool = ConnectionPool(connect_timeout_s)
    try:
        yield pool
    finally:
        pool.close()
