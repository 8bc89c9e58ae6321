"""Requests to miners over one pool of connections: signed, bounded in time and size, never redirected."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from gateway.errors import MinerFailure
from gateway.miner_answer import error_answer
from gateway.miners import KnownMiner
from gateway.observation import onward_headers
from shared.peer_auth import sign_request
from shared.signing import Signer

IDLE_CONNECTION_S = 3.0
"""How long unused connections are kept: less than the 5 s after which a miner's server drops them, so that
no request meets a connection that is just being closed."""

MAX_STREAM_BYTES = 64 << 20
"""Largest answer, whole or streamed: 128 choices of 2,000 tokens at 250 bytes an event."""

MAX_ERROR_BYTES = 64 << 10
ERROR_BODY_TIMEOUT_S = 10.0
_LEFTOVER_TIMEOUT_S = 1.0
_LEFTOVER_BYTES = 64 << 10

_TRANSPORT_ERRORS = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises for anything a peer does; a TimeoutError is an OSError."""


@dataclass(frozen=True)
class Timeouts:
    """How long miners may take, in seconds."""

    connect_s: float
    first_event_s: float
    idle_s: float
    answer_s: float


def open_session(connect_timeout_s: float) -> aiohttp.ClientSession:
    """A pool of connections without cookies, proxies, decompression or redirects.

    Must be called inside the event loop; the caller closes it.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_CONNECTION_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout_s),
        auto_decompress=False,
        trust_env=False,
        headers={"accept-encoding": "identity", "user-agent": "constantinople-gateway"},
    )


class MinerAnswer:
    """A miner's answer with status 200, read piece by piece."""

    def __init__(self, response: aiohttp.ClientResponse, deadline_s: float) -> None:
        self._response = response
        self._deadline_s = deadline_s
        self._received_bytes = 0

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case."""
        return str(self._response.headers.get("content-type", "")).partition(";")[0].strip().lower()

    async def read(self, until_s: float) -> bytes:
        """The next bytes; empty at the end.

        Args:
            until_s: the event loop's time until which bytes must come.

        Raises:
            MinerFailure: too late, too many, or the connection broke.
        """
        try:
            async with asyncio.timeout_at(min(until_s, self._deadline_s)):
                data = await self._response.content.readany()
        except _TRANSPORT_ERRORS as error:
            raise _in_words(error, "in the middle of its answer") from error
        self._received_bytes += len(data)
        if self._received_bytes > MAX_STREAM_BYTES:
            raise MinerFailure(f"it sent more than {MAX_STREAM_BYTES} bytes")
        return data

    async def read_whole(self) -> bytes:
        """All bytes until the end.

        Raises:
            MinerFailure: as `read`.
        """
        pieces = []
        while data := await self.read(self._deadline_s):
            pieces.append(data)
        return b"".join(pieces)

    async def finish(self) -> None:
        """Take in what follows the last event, a few bytes, so that the connection can be used again."""
        try:
            async with asyncio.timeout(_LEFTOVER_TIMEOUT_S):
                left = _LEFTOVER_BYTES
                while left > 0 and (data := await self._response.content.readany()):
                    left -= len(data)
        except _TRANSPORT_ERRORS:
            self._response.close()


class MinerClient:
    """Sends requests to miners, signed by the gateway's hotkey."""

    def __init__(self, session: aiohttp.ClientSession, signer: Signer, timeouts: Timeouts) -> None:
        self._session, self._signer = session, signer
        self.timeouts = timeouts

    @asynccontextmanager
    async def post(
        self, miner: KnownMiner, path: str, body: bytes, stream: bool
    ) -> AsyncIterator[MinerAnswer]:
        """Send `body`; leaving the block before the answer's end cancels the request at the miner.

        Raises:
            MinerRefusal: the miner says that the request is wrong.
            MinerFailure: it can't be reached, is too slow, or answers with any other status than 200.
        """
        now_s = asyncio.get_running_loop().time()
        deadline_s = now_s + self.timeouts.answer_s
        first_s = min(now_s + self.timeouts.first_event_s, deadline_s) if stream else deadline_s
        response = await self._headers(miner, path, body, first_s)
        try:
            if response.status != 200:
                raise await self._error(response)
            yield MinerAnswer(response, deadline_s)
        finally:
            # Closes the connection unless the answer was read to its end: the miner then stops generating.
            response.release()

    async def _headers(
        self, miner: KnownMiner, path: str, body: bytes, until_s: float
    ) -> aiohttp.ClientResponse:
        headers = sign_request(self._signer, "POST", path, body, miner.hotkey)
        headers["content-type"] = "application/json"
        headers.update(onward_headers())
        url = URL(f"{miner.endpoint.url}{path}", encoded=True)
        try:
            async with asyncio.timeout_at(until_s):
                return await self._session.post(url, data=body, headers=headers, allow_redirects=False)
        except _TRANSPORT_ERRORS as error:
            raise _in_words(error, "before it answered") from error

    async def _error(self, response: aiohttp.ClientResponse) -> MinerFailure:
        body = b""
        try:
            async with asyncio.timeout(ERROR_BODY_TIMEOUT_S):
                while len(body) <= MAX_ERROR_BYTES and (data := await response.content.readany()):
                    body += data
        except _TRANSPORT_ERRORS as error:
            raise _in_words(error, f"after HTTP {response.status}", response.status) from error
        return error_answer(response.status, body, response.headers.get("retry-after"))


def _in_words(error: Exception, when: str, http_status: int | None = None) -> MinerFailure:
    """What the transport raised, as a failure whose message names no address."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return MinerFailure("it could not be connected to in time", http_status)
    if isinstance(error, TimeoutError):
        return MinerFailure(f"it went silent {when}", http_status)
    if isinstance(error, aiohttp.ClientConnectorError):
        return MinerFailure("it refuses connections or can't be reached", http_status)
    return MinerFailure(f"its connection broke {when} ({type(error).__name__})", http_status)
