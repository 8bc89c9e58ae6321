"""Asks a miner's `POST /hidden_state`, and tells apart the ways in which a miner can fail to answer."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from pydantic import ValidationError

from shared.addresses import base_url, is_callable_address, parse_endpoint
from shared.canonical import canonical_json, sha256_hex
from shared.challenges import (
    CHALLENGE_DOMAIN,
    CHALLENGE_PATH,
    OpenAnswer,
    OpenRequest,
    ReplayAnswer,
    ReplayRequest,
)
from shared.errors import MalformedMessage, SignatureMismatch
from shared.peer_auth import sign_request
from shared.signing import Signer, check_signature

log = logging.getLogger(__name__)

CONNECT_DEADLINE_S = 5.0
READ_DEADLINE_S = 30.0
"""Longest silence: a replay waits behind the requests that the engine serves."""

ATTEMPT_DEADLINE_S = 60.0
"""Longest attempt as a whole, so that an answer of one byte a second ends too."""

RETRY_DELAYS_S = (1.0, 3.0, 10.0, 30.0)
"""Pauses between attempts: a restart of a router or a dropped link is over within their sum."""

MAX_ANSWER_BYTES = 4 << 20
"""Most of an answer that is read: 256 openings with 40 path steps each are less than 1 MiB, one replayed
vector of 65,536 numbers less than 0.2 MiB."""

MAX_QUOTED_CHARACTERS = 200
"""Most of a miner's own error message that is repeated in a verdict."""

_RETRIED_STATUSES = frozenset({429, *range(500, 600)})

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True)
class Unreachable:
    """No attempt brought a response, or only "try again later" (429 and 5xx) did."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """The miner answered with an error status of its own choice, or a redirect."""

    status: int
    message: str


@dataclass(frozen=True)
class Malformed:
    """The miner answered, but not with a signed answer to this challenge."""

    reason: str


OpenOutcome = OpenAnswer | Unreachable | Refused | Malformed
ReplayOutcome = ReplayAnswer | Unreachable | Refused | Malformed


class Challenged(Protocol):
    """What an audit asks: the miner itself, or what it has answered before."""

    async def open(self, challenge: OpenRequest, axon: str, hotkey: str) -> OpenOutcome:
        """Openings by the miner `hotkey`, which serves at `axon` ("ip:port")."""
        ...

    async def replay(self, challenge: ReplayRequest, axon: str, hotkey: str) -> ReplayOutcome:
        """Replayed vectors by the miner `hotkey`, which serves at `axon` ("ip:port")."""
        ...


def http_client() -> httpx.AsyncClient:
    """A client for miners: no redirects, no proxies of the environment, every wait bounded."""
    timeout = httpx.Timeout(READ_DEADLINE_S, connect=CONNECT_DEADLINE_S)
    return httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False)


class MinerClient:
    """Challenges miners, each request signed by `signer`.

    `allow_local` admits loopback addresses, for a network that runs on one machine.
    """

    def __init__(
        self,
        signer: Signer,
        http: httpx.AsyncClient,
        allow_local: bool,
        sleep: Sleep = asyncio.sleep,
        attempt_deadline_s: float = ATTEMPT_DEADLINE_S,
    ) -> None:
        self._signer, self._http, self._sleep = signer, http, sleep
        self._allow_local, self._attempt_deadline_s = allow_local, attempt_deadline_s

    async def open(self, challenge: OpenRequest, axon: str, hotkey: str) -> OpenOutcome:
        """Ask the miner `hotkey` at `axon` ("ip:port") for openings."""
        body = canonical_json(challenge)
        response = await self._ask(body, axon, hotkey)
        return _open_answer(response, body, hotkey) if isinstance(response, bytes) else response

    async def replay(self, challenge: ReplayRequest, axon: str, hotkey: str) -> ReplayOutcome:
        """Ask the miner `hotkey` at `axon` ("ip:port") for replayed vectors."""
        body = canonical_json(challenge)
        response = await self._ask(body, axon, hotkey)
        return _replay_answer(response, body, hotkey) if isinstance(response, bytes) else response

    async def _ask(self, body: bytes, axon: str, hotkey: str) -> bytes | Unreachable | Refused | Malformed:
        url = challenge_url(axon, self._allow_local)
        if isinstance(url, Unreachable):
            return url
        outcome = await self._attempt(url, body, hotkey)
        for delay_s in RETRY_DELAYS_S:
            if not isinstance(outcome, Unreachable):
                break
            log.debug("asking %s at %s again in %g s: %s", hotkey, url, delay_s, outcome.reason)
            await self._sleep(delay_s)
            outcome = await self._attempt(url, body, hotkey)
        return outcome

    async def _attempt(self, url: str, body: bytes, hotkey: str) -> bytes | Unreachable | Refused | Malformed:
        headers = sign_request(self._signer, "POST", CHALLENGE_PATH, body, hotkey)
        headers |= {"content-type": "application/json", "accept-encoding": "identity"}
        try:
            async with (
                asyncio.timeout(self._attempt_deadline_s),
                self._http.stream("POST", url, content=body, headers=headers) as response,
            ):
                return _classified(response.status_code, await _bounded(response))
        except MalformedMessage as error:
            return Malformed(str(error))
        except TimeoutError:
            return Unreachable(f"no whole answer within {self._attempt_deadline_s:g} s")
        except httpx.HTTPError as error:
            return Unreachable(f"{type(error).__name__}: {error}".rstrip(": "))


def challenge_url(axon: str, allow_local: bool) -> str | Unreachable:
    """The URL to challenge at, unless the metagraph's address may not be called."""
    try:
        host, port = parse_endpoint(axon)
    except MalformedMessage as error:
        return Unreachable(f"the metagraph names no usable address: {error}")
    if not is_callable_address(host, allow_local):
        return Unreachable(f"the address {host} is not a public one; announce one that is")
    return base_url(host, port) + CHALLENGE_PATH


async def _bounded(response: httpx.Response) -> bytes:
    received = bytearray()
    async for chunk in response.aiter_raw():
        received += chunk
        if len(received) > MAX_ANSWER_BYTES:
            raise MalformedMessage(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
    return bytes(received)


def _classified(status: int, body: bytes) -> bytes | Unreachable | Refused:
    if status == httpx.codes.OK:
        return body
    if status in _RETRIED_STATUSES:
        return Unreachable(f"HTTP {status}: {_error_message(body)}")
    return Refused(status, _error_message(body))


def _error_message(body: bytes) -> str:
    """The message of an OpenAI-shaped error, or the body's beginning, printable and short."""
    text = body[: MAX_QUOTED_CHARACTERS * 4].decode(errors="replace")
    with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
        text = str(json.loads(body)["error"]["message"])
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable[:MAX_QUOTED_CHARACTERS].strip() or "no message"


def _open_answer(data: bytes, body: bytes, hotkey: str) -> OpenAnswer | Malformed:
    try:
        answer = OpenAnswer.model_validate_json(data)
        check_authentic(answer, body, hotkey)
    except (ValidationError, SignatureMismatch, MalformedMessage) as error:
        return Malformed(_complaint(error))
    return answer


def _replay_answer(data: bytes, body: bytes, hotkey: str) -> ReplayAnswer | Malformed:
    try:
        answer = ReplayAnswer.model_validate_json(data)
        check_authentic(answer, body, hotkey)
    except (ValidationError, SignatureMismatch, MalformedMessage) as error:
        return Malformed(_complaint(error))
    return answer


def check_authentic(answer: OpenAnswer | ReplayAnswer, body: bytes, hotkey: str) -> None:
    """Check that `hotkey` signed an answer to the challenge whose body this is.

    Raises:
        SignatureMismatch: it did not.
        MalformedMessage: it is an answer to another.
    """
    if answer.hotkey != hotkey:
        raise SignatureMismatch(f"the answer is by {answer.hotkey}, {hotkey} was asked")
    if answer.challenge_digest != sha256_hex(body):
        raise MalformedMessage("the answer is to another challenge")
    if answer.signature is None:
        raise SignatureMismatch("the answer is not signed")
    check_signature(CHALLENGE_DOMAIN, answer, answer.signature, hotkey)


def _complaint(error: Any) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole text"
    return f"not an answer to a challenge: {place}: {first['msg']}"
