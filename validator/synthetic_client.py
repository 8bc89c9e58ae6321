"""Sends a synthetic request to the public gateway, as any client would, naming the miner that is to serve."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from shared.directed_requests import direct_request
from shared.signing import Signer
from validator.synthetic_requests import Draft

CONNECT_DEADLINE_S = 10.0
SILENCE_DEADLINE_S = 660.0
"""Longer than any gateway waits for a miner: it is the gateway that gives up, and records that."""

REQUEST_ID_HEADER = "x-request-id"
"""In which the gateway names the last attempt that it made, if any."""

_EVENT = "data: "
_QUOTED_CHARS = 200
_REFUSED_CALLER = frozenset({401, 403})


class GatewayTrouble(Exception):
    """The gateway does not take synthetic requests; the message says why and what to do."""


@dataclass(frozen=True)
class GatewayAddress:
    """A gateway: its URL and the hotkey that it runs with."""

    url: str
    hotkey: str


def http_client() -> httpx.AsyncClient:
    """A client for the gateway: no proxies of the environment, no redirects."""
    timeout = httpx.Timeout(SILENCE_DEADLINE_S, connect=CONNECT_DEADLINE_S)
    return httpx.AsyncClient(timeout=timeout, limits=httpx.Limits(max_connections=None), trust_env=False)


@dataclass(frozen=True)
class Reply:
    """What came of a request.

    Attributes:
        text: of the first choice; None when the miner did not answer, which the gateway has recorded.
        request_id: under which the gateway recorded it; None when no miner was asked.
    """

    text: str | None
    request_id: str | None = None


class GatewayClient:
    """A client of one gateway."""

    def __init__(self, http: httpx.AsyncClient, gateway: GatewayAddress, signer: Signer) -> None:
        self._http, self._gateway, self._signer = http, gateway, signer

    async def ask(self, draft: Draft, miner_hotkey: str) -> Reply:
        """What the miner answered.

        Raises:
            GatewayTrouble: the gateway can't be reached, or does not let this auditor choose miners.
        """
        body = draft.encoded()
        headers = direct_request(self._signer, draft.path, body, self._gateway.hotkey, miner_hotkey)
        headers["content-type"] = "application/json"
        url = self._gateway.url.rstrip("/") + draft.path
        request_id: str | None = None
        try:
            async with self._http.stream("POST", url, content=body, headers=headers) as answer:
                request_id = answer.headers.get(REQUEST_ID_HEADER)
                await answer.aread()
        except httpx.ReadError:
            return Reply(None, request_id)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise GatewayTrouble(f"the gateway at {self._gateway.url} can't be reached: {error!r}") from None
        if answer.status_code in _REFUSED_CALLER:
            raise GatewayTrouble(
                f"the gateway does not let this auditor choose miners: {answer.text[:_QUOTED_CHARS]}; start "
                f"it with --trusted-callers {self._signer.ss58_address}, and name its hotkey to this auditor "
                "with --gateway-hotkey"
            )
        answered = answer.status_code == httpx.codes.OK
        return Reply(first_text(answer.text, draft.streamed) if answered else None, request_id)


def first_text(answer: str, streamed: bool) -> str | None:
    """What the first choice says; None when the answer broke off with an error."""
    pieces: list[str] = []
    for payload in _payloads(answer, streamed):
        if "error" in payload:
            return None
        for choice in payload.get("choices", []):
            if choice.get("index") == 0:
                part = choice.get("delta") or choice.get("message") or choice
                pieces.append(part.get("content") or part.get("text") or "")
    return "".join(pieces)


def _payloads(answer: str, streamed: bool) -> Iterator[dict[str, Any]]:
    lines = answer.splitlines() if streamed else [_EVENT + answer]
    for line in lines:
        if line.startswith(_EVENT) and line != _EVENT + "[DONE]":
            yield json.loads(line.removeprefix(_EVENT))
