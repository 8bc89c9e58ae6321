"""Asking a miner for its health: whether it serves our model, in bounded time and size."""

import asyncio
from typing import Any

import aiohttp
import orjson

from gateway.miners import Endpoint

PROBE_TIMEOUT_S = 5.0
"""A miner whose event loop answers nothing for this long is not worth a request."""

MAX_HEALTH_BYTES = 16 << 10
HEALTH_PATH = "/health"


class HealthProbe:
    """Asks miners over one pool of connections."""

    def __init__(
        self, session: aiohttp.ClientSession, model: str, timeout_s: float = PROBE_TIMEOUT_S
    ) -> None:
        self._session, self._model, self._timeout_s = session, model, timeout_s

    async def why_not_callable(self, endpoint: Endpoint, hotkey: str) -> str:
        """Why requests must not be sent to `endpoint`; empty when they may."""
        if endpoint.url is None:
            return endpoint.refusal or "it has no address"
        try:
            async with asyncio.timeout(self._timeout_s):
                status, body = await self._get(endpoint.url + HEALTH_PATH)
        except TimeoutError:
            return f"it did not answer GET /health within {self._timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return f"it does not answer GET /health: {type(error).__name__}"
        if status != 200:
            return f"it answered GET /health with HTTP {status}"
        return judge_health(body, self._model, hotkey)

    async def _get(self, url: str) -> tuple[int, bytes]:
        async with self._session.get(url, allow_redirects=False) as answer:
            body = b""
            while len(body) <= MAX_HEALTH_BYTES and (data := await answer.content.readany()):
                body += data
            return answer.status, body


def judge_health(body: bytes, model: str, hotkey: str) -> str:
    """Why a miner with this health answer must not be called; empty when it may."""
    if len(body) > MAX_HEALTH_BYTES:
        return f"its health is longer than {MAX_HEALTH_BYTES} bytes"
    try:
        health: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return "its health is not JSON"
    if not isinstance(health, dict):
        return "its health is not a JSON object"
    if health.get("status") != "ok":
        return f"its health is {str(health.get('status'))[:60]!r}"
    if health.get("model") != model:
        return f"it serves {str(health.get('model'))[:100]!r}, not {model!r}"
    if health.get("hotkey") != hotkey:
        return "another hotkey answers at its address"
    return ""
