"""One HTTP/1.1 connection to a miner: one request after the other, each answer read piece by piece.

Strict: broken or oversized heads, upgrades and bytes that nobody asked for end the connection. Nothing is
unpacked or redirected.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httptools

MAX_HEAD_BYTES = 64 << 10

MAX_WAITING_BYTES = 256 << 10
"""Bytes of an answer that wait to be read; more stay in the kernel, and then with the miner."""

_CONTINUE_STATUSES = range(100, 200)

Take = Callable[[bytes], float]
"""Takes bytes the moment they come; gives the event loop's time until which more must come, which is never
before the last one that it gave, or 0.0 to be given no more."""


class MinerConnection(asyncio.Protocol):
    """A connection that is open, or was.

    Attributes:
        status: of the answer, once its head has come.
        headers: of the answer, by name in lower case; of several with one name the last.
        answered: whether any byte of an answer has come since the request.
        complete: whether the whole answer has come.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._parser: Any = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._until_s = 0.0
        self._error: OSError | None = None
        self._paused = False
        self._busy = False
        self._take: Take | None = None
        self._most_bytes, self._deadline_s = 0, 0.0
        self.received_bytes = 0
        self._expect_answer()

    def _expect_answer(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.answered = self.complete = False
        self._head_complete = self._framed = self._keep_alive = False
        self._head_bytes = self.received_bytes = 0
        self._pieces: list[bytes] = []
        self._waiting_bytes = 0

    def header(self, name: bytes) -> str:
        """A header of the answer, by its name in lower case; empty if there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def reusable(self) -> bool:
        """Whether another request may be sent."""
        return self._error is None and not self._busy and not self._transport.is_closing()

    def send(self, request: bytes) -> None:
        """Send a whole request; its answer is read with `head` and `read`."""
        self._expect_answer()
        self._busy = True
        self._transport.write(request)

    async def head(self, until_s: float) -> None:
        """Wait for the answer's head.

        Args:
            until_s: the event loop's time until which it must come.

        Raises:
            OSError: it did not; a TimeoutError if it came too late.
        """
        while not self._head_complete:
            if self._error is not None:
                raise self._error
            await self._something(until_s)

    async def read(self, until_s: float) -> bytes:
        """The next bytes of the body; empty at the end.

        Raises:
            OSError: as `head`.
        """
        while not self._pieces:
            if self.complete:
                return b""
            if self._error is not None:
                raise self._error
            await self._something(until_s)
        if self._loop.time() >= until_s:
            raise TimeoutError("too late")
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._waiting_bytes = [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def pour(self, take: Take, until_s: float, deadline_s: float, most_bytes: int) -> None:
        """Give what comes of the body to `take`, at once and without waking the caller, while that goes on.

        Afterwards `read` gives what was not taken, the end, or what went wrong.

        Args:
            until_s: as for `read`; then what `take` says, but no later than `deadline_s`.
            most_bytes: of the answer, with its head, after which nothing is given to `take`.

        Raises:
            TimeoutError: nothing came in time.
            Exception: whatever `take` raised.
        """
        self._take, self._deadline_s, self._most_bytes, self._until_s = take, deadline_s, most_bytes, until_s
        try:
            while self._take is not None and not self._pieces and not self.complete and self._error is None:
                await self._something(min(self._until_s, deadline_s))
        finally:
            self._take = None

    def _give(self, take: Take) -> None:
        """Give to `take` what has come."""
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._waiting_bytes = [], 0
        try:
            until_s = take(data)
        except Exception as error:  # noqa: BLE001  whoever waits in `pour` gets it
            self._take = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(error)
            return
        if until_s > 0.0 and not self.complete:
            self._until_s = min(until_s, self._deadline_s)
            return
        self._take = None
        self._wake()

    def finished(self) -> bool:
        """Note that the answer is done with; gives whether the connection can take another request."""
        self._busy = False
        self._disarm()
        return self.complete and self._keep_alive and not self._paused and self.reusable

    def close(self) -> None:
        """Hang up at once: the miner stops working."""
        self._disarm()
        self._transport.abort()

    def _something(self, until_s: float) -> asyncio.Future[None]:
        """Done when something comes, or the time is up. One timer serves many waits: most are short."""
        self._until_s = until_s
        if self._timer is None or self._timer.when() > until_s:
            self._disarm()
            self._timer = self._loop.call_at(until_s, self._time_is_up)
        self._waiter = self._loop.create_future()
        return self._waiter

    def _time_is_up(self) -> None:
        self._timer = None
        waiter = self._waiter
        if waiter is None or waiter.done():
            return
        if self._loop.time() < self._until_s:
            self._timer = self._loop.call_at(self._until_s, self._time_is_up)
        else:
            waiter.set_exception(TimeoutError("too late"))

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: OSError) -> None:
        self._error = self._error or error
        self._transport.abort()
        self._wake()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_complete and not self._framed and exc is None and self._error is None:
            self.complete = True
        self._error = self._error or (exc if isinstance(exc, OSError) else ConnectionResetError("closed"))
        self._parser = None
        self._wake()

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self._fail(ConnectionAbortedError("bytes that nobody asked for"))
            return
        self.answered = True
        self.received_bytes += len(data)
        if not self._head_complete:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(ConnectionAbortedError("not HTTP"))
            return
        if not self._head_complete and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(ConnectionAbortedError("endless head"))
            return
        if self._take is not None and self._pieces and self.received_bytes <= self._most_bytes:
            self._give(self._take)
            return
        if self._waiting_bytes > MAX_WAITING_BYTES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_begin(self) -> None:
        if self.complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:
            self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.complete:
            return
        if status in _CONTINUE_STATUSES:
            self.headers.clear()
            return
        self.status, self._head_complete = status, True
        self._framed = b"content-length" in self.headers or b"transfer-encoding" in self.headers

    def on_body(self, body: bytes) -> None:
        if not self.complete:
            self._pieces.append(body)
            self._waiting_bytes += len(body)

    def on_message_complete(self) -> None:
        if self._head_complete and not self.complete:
            self.complete = True
            self._keep_alive = self._parser.should_keep_alive()
