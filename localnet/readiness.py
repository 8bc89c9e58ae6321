"""Waiting for a process to answer, while watching that none has died."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from localnet.children import Children
from localnet.errors import LocalnetError

POLL_S = 0.5


async def wait_until(
    what: str, ready: Callable[[], Awaitable[bool]], children: Children, deadline_s: float
) -> None:
    """Wait until `ready` says so.

    Raises:
        LocalnetError: a child died, or the deadline passed.
    """
    loop = asyncio.get_running_loop()
    give_up = loop.time() + deadline_s
    while not await ready():
        children.check()
        if loop.time() > give_up:
            raise LocalnetError(f"{what} did not happen within {deadline_s:g} s; the logs say why")
        await asyncio.sleep(POLL_S)


def accepts_connections(port: int) -> Callable[[], Awaitable[bool]]:
    """Ready when something on 127.0.0.1 accepts a connection to `port`."""

    async def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            return False

    return ready


async def get_json(url: str) -> Any | None:
    """The JSON that `url` answers with status 200, or None."""
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
            answer = await client.get(url)
            return answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Ready when `url` answers JSON with status 200."""

    async def ready() -> bool:
        return await get_json(url) is not None

    return ready
