"""A cheat that holds connections: its answers come a byte at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from localnet.cheating_miner.cheat import Cheat

DRIP_BYTES = 1

PAUSE_S = 1.0
"""Short enough that no timeout between two reads ever strikes."""

Sleep = Callable[[float], Awaitable[None]]


class SlowDrip(Cheat):
    """Sends every answer, receipt included, a byte a second."""

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self._sleep = sleep

    def outside(self, app: ASGIApp) -> ASGIApp:
        """The miner behind a slow connection."""

        async def slowed(scope: Scope, receive: Receive, send: Send) -> None:
            async def drip(message: Message) -> None:
                await self._drip(message, send)

            await app(scope, receive, drip)

        return slowed

    async def _drip(self, message: Message, send: Send) -> None:
        body: bytes = message.get("body", b"")
        while len(body) > DRIP_BYTES:
            await send({"type": message["type"], "body": body[:DRIP_BYTES], "more_body": True})
            await self._sleep(PAUSE_S)
            body = body[DRIP_BYTES:]
        await send(message if "body" not in message else {**message, "body": body})
