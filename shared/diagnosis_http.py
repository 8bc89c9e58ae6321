"""Asking a process of ours, over HTTP, how it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from shared.addresses import base_url

DEADLINE_S = 10.0


@dataclass(frozen=True)
class HealthAnswer:
    """What `GET /health` brought.

    Attributes:
        body: the JSON object; None when nothing, or something else, answered.
        failure: why there is none, in words.
    """

    body: Mapping[str, Any] | None
    failure: str = ""

    def is_of(self, hotkey: str | None) -> bool:
        """Whether the process that answered names this hotkey."""
        return self.body is not None and hotkey is not None and self.body.get("hotkey") == hotkey


async def ask_health(host: str, port: int, transport: httpx.AsyncBaseTransport | None = None) -> HealthAnswer:
    """Ask the process at an IP address and port."""
    return await read_json(f"{base_url(host, port)}/health", transport)


async def read_json(url: str, transport: httpx.AsyncBaseTransport | None = None) -> HealthAnswer:
    """The JSON object at a URL, whatever its status."""
    try:
        async with _client(url, transport) as http:
            body = (await http.get(url)).json()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return HealthAnswer(None, f"{type(error).__name__}: {error}".rstrip(": "))
    except ValueError:
        return HealthAnswer(None, "what answers is no process of this project")
    if not isinstance(body, dict):
        return HealthAnswer(None, "what answers is no process of this project")
    return HealthAnswer(body)


def _client(url: str, transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """A client; certificates, which take tens of milliseconds to load, are loaded only for https."""
    verify = url.startswith("https:")
    return httpx.AsyncClient(timeout=DEADLINE_S, trust_env=False, transport=transport, verify=verify)
