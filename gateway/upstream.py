"""Requests to miners over one pool of connections: signed, bounded in time and size, never redirected."""

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType

import aiohttp

from gateway.connection_pool import IDLE_CONNECTION_S, CannotConnect, ConnectionPool
from gateway.errors import MinerFailure
from gateway.miner_answer import error_answer
from gateway.miner_connection import MinerConnection, Take
from gateway.miners import KnownMiner
from gateway.observation import onward_headers
from shared.peer_auth import sign_request
from shared.signing import Signer

MAX_STREAM_BYTES = 64 << 20
"""Largest answer, whole or streamed, with its framing: 128 choices of 2,000 tokens at 250 bytes an event."""

MAX_ERROR_BYTES = 64 << 10
ERROR_BODY_TIMEOUT_S = 10.0
_LEFTOVER_TIMEOUT_S = 1.0
_LEFTOVER_BYTES = 64 << 10

_FIXED_HEADERS = (
    "accept: */*\r\naccept-encoding: identity\r\nuser-agent: constantinople-gateway\r\n"
    "content-type: application/json\r\n"
)


@dataclass(frozen=True)
class Timeouts:
    """How long miners may take, in seconds."""

    connect_s: float
    first_event_s: float
    idle_s: float
    answer_s: float


def open_session(connect_timeout_s: float) -> aiohttp.ClientSession:
    """Connections for what is asked of miners besides inference: no cookies, proxies or decompression.

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

    def __init__(self, connection: MinerConnection, deadline_s: float) -> None:
        self._connection, self._deadline_s = connection, deadline_s

    @property
    def content_type(self) -> str:
        """Without parameters, in lower case."""
        return self._connection.header(b"content-type").partition(";")[0].strip().lower()

    async def read(self, until_s: float) -> bytes:
        """The next bytes; empty at the end.

        Args:
            until_s: the event loop's time until which bytes must come.

        Raises:
            MinerFailure: too late, too many, or the connection broke.
        """
        try:
            data = await self._connection.read(min(until_s, self._deadline_s))
        except OSError as error:
            raise _in_words(error, "in the middle of its answer") from error
        if self._connection.received_bytes > MAX_STREAM_BYTES:
            raise MinerFailure(f"it sent more than {MAX_STREAM_BYTES} bytes")
        return data

    async def pour(self, take: Take, until_s: float) -> None:
        """Give bytes to `take` as they come, while it takes them; then `read` says how it goes on.

        Raises:
            MinerFailure: too late; or whatever `take` raised.
        """
        try:
            await self._connection.pour(take, until_s, self._deadline_s, MAX_STREAM_BYTES)
        except OSError as error:
            raise _in_words(error, "in the middle of its answer") from error

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
        if self._connection.complete:
            return
        until_s, left = asyncio.get_running_loop().time() + _LEFTOVER_TIMEOUT_S, _LEFTOVER_BYTES
        try:
            while left > 0 and (data := await self._connection.read(until_s)):
                left -= len(data)
        except OSError:
            self._connection.close()


class _Exchange(AbstractAsyncContextManager[MinerAnswer]):
    """One request and its answer; leaving the block before the answer's end hangs up."""

    def __init__(
        self,
        pool: ConnectionPool,
        signer: Signer,
        timeouts: Timeouts,
        miner: KnownMiner,
        path: str,
        body: bytes,
        stream: bool,
    ) -> None:
        assert miner.endpoint.url is not None
        self._pool, self._signer, self._timeouts = pool, signer, timeouts
        self._url, self._hotkey, self._path, self._body = miner.endpoint.url, miner.hotkey, path, body
        self._stream = stream
        self._connection: MinerConnection | None = None

    async def __aenter__(self) -> MinerAnswer:
        now_s = asyncio.get_running_loop().time()
        deadline_s = now_s + self._timeouts.answer_s
        first_s = min(now_s + self._timeouts.first_event_s, deadline_s) if self._stream else deadline_s
        try:
            connection = await self._head(first_s)
            if connection.status != 200:
                raise await _error(connection)
        except BaseException:
            self._release()
            raise
        return MinerAnswer(connection, deadline_s)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        if self._connection is not None:
            self._pool.give_back(self._url, self._connection)
            self._connection = None

    async def _head(self, until_s: float) -> MinerConnection:
        """Send the request; a miner that has just closed an unused connection gets it on a new one.

        Raises:
            MinerFailure: no answer in time.
        """
        try:
            used = self._connection = self._pool.idle(self._url)
            if used is not None:
                used.send(self._request())
                try:
                    await used.head(until_s)
                    return used
                except ConnectionError:
                    if used.answered:
                        raise
            fresh = await self._pool.connect(self._url, until_s)
            if used is not None:
                self._pool.drop(used)
            self._connection = fresh
            fresh.send(self._request())
            await fresh.head(until_s)
        except OSError as error:
            raise _in_words(error, "before it answered") from error
        return fresh

    def _request(self) -> bytes:
        """Head and body; each is signed anew."""
        signed = sign_request(self._signer, "POST", self._path, self._body, self._hotkey)
        signed.update(onward_headers())
        own = "".join([f"{name}: {value}\r\n" for name, value in signed.items()])
        if own.count("\r") != len(signed) or own.count("\n") != len(signed):
            raise ValueError("a header of a request has a line break in it")
        host = self._url.removeprefix("http://")
        head = (
            f"POST {self._path} HTTP/1.1\r\nhost: {host}\r\n{_FIXED_HEADERS}{own}"
            f"content-length: {len(self._body)}\r\n\r\n"
        )
        return head.encode() + self._body


class MinerClient:
    """Sends requests to miners, signed by the gateway's hotkey."""

    def __init__(self, pool: ConnectionPool, signer: Signer, timeouts: Timeouts) -> None:
        self._pool, self._signer = pool, signer
        self.timeouts = timeouts

    def post(
        self, miner: KnownMiner, path: str, body: bytes, stream: bool
    ) -> AbstractAsyncContextManager[MinerAnswer]:
        """Send `body`; leaving the block before the answer's end cancels the request at the miner.

        Raises:
            MinerRefusal: the miner says that the request is wrong.
            MinerFailure: it can't be reached, is too slow, or answers with any other status than 200.
        """
        return _Exchange(self._pool, self._signer, self.timeouts, miner, path, body, stream)


async def _error(connection: MinerConnection) -> MinerFailure:
    body, until_s = b"", asyncio.get_running_loop().time() + ERROR_BODY_TIMEOUT_S
    try:
        while len(body) <= MAX_ERROR_BYTES and (data := await connection.read(until_s)):
            body += data
    except OSError as error:
        raise _in_words(error, f"after HTTP {connection.status}", connection.status) from error
    return error_answer(connection.status, body, connection.header(b"retry-after"))


def _in_words(error: OSError, when: str, http_status: int | None = None) -> MinerFailure:
    """What the transport raised, as a failure whose message names no address."""
    if isinstance(error, CannotConnect):
        late = isinstance(error.__cause__, TimeoutError)
        how = "could not be connected to in time" if late else "refuses connections or can't be reached"
        return MinerFailure(f"it {how}", http_status)
    if isinstance(error, TimeoutError):
        return MinerFailure(f"it went silent {when}", http_status)
    return MinerFailure(f"its connection broke {when} ({type(error).__name__})", http_status)
