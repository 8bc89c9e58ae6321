"""JSON-RPC by hand, for what the SDK would never send."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect


class RawConnection:
    """One websocket; requests are answered in order, notifications are set aside."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.notifications: list[dict[str, Any]] = []
        self._next_id = 1

    async def send(self, method: str, *params: Any) -> int:
        self._next_id += 1
        request = {"jsonrpc": "2.0", "id": self._next_id, "method": method, "params": list(params)}
        await self.socket.send(orjson.dumps(request).decode())
        return self._next_id

    async def response(self, identifier: int) -> dict[str, Any]:
        while True:
            message: dict[str, Any] = orjson.loads(await self.socket.recv())
            if message.get("id") == identifier:
                return message
            self.notifications.append(message)

    async def call(self, method: str, *params: Any) -> Any:
        """The result.

        Raises:
            AssertionError: the node answered with an error.
        """
        response = await self.response(await self.send(method, *params))
        assert "error" not in response, response["error"]
        return response["result"]

    async def error(self, method: str, *params: Any) -> dict[str, Any]:
        """The error object of a request that must fail."""
        response = await self.response(await self.send(method, *params))
        error: dict[str, Any] = response["error"]
        return error

    async def notification(self) -> dict[str, Any]:
        """The next notification's parameters."""
        message = self.notifications.pop(0) if self.notifications else orjson.loads(await self.socket.recv())
        params: dict[str, Any] = message["params"]
        return params


@asynccontextmanager
async def raw_connection(url: str, **options: Any) -> AsyncIterator[RawConnection]:
    async with connect(url, compression=None, **options) as socket:
        yield RawConnection(socket)
