"""From the miner to the client: events are forwarded as they come, and counted afterwards.

An event is parsed before it is forwarded (about 1 µs), so that a client gets nothing that is not JSON; its
bytes are passed on as they are. The receipt and the final [DONE] are held back.
"""

import asyncio
from contextlib import suppress
from typing import Any

from gateway.attempt import Attempt
from gateway.client_connection import Response
from gateway.errors import MinerFailure
from gateway.event_stream import DONE, Event, EventSplitter
from gateway.metering import choices_of
from gateway.miner_answer import read_part, remove_token_ids
from gateway.upstream import MinerAnswer, Timeouts

COUNTED_TOGETHER = 16
"""Events that are counted at once: so many later, at most, a stream with impossible token ids is ended."""

MAX_UNCOUNTED_BYTES = 64 << 10


class StreamRelay:
    """Relays one stream up to its [DONE], which is left to the caller."""

    def __init__(self, attempt: Attempt, answer: MinerAnswer, response: Response) -> None:
        self._attempt, self._answer, self._response = attempt, answer, response
        self._splitter = EventSplitter()
        self._done = False
        self._events = 0
        self._uncounted: list[tuple[dict[str, Any], float]] = []
        self._uncounted_bytes = 0

    async def run(self, timeouts: Timeouts, first_event_until_s: float) -> None:
        """Forward until [DONE].

        Args:
            first_event_until_s: the event loop's time until which the first event must come.

        Raises:
            MinerFailure: the stream is malformed, too large, too slow, cut off, or has no receipt. Events
                before that have been forwarded.
        """
        if self._answer.content_type != "text/event-stream":
            raise MinerFailure("it did not answer with an event stream")
        try:
            await self._forward(timeouts.idle_s, first_event_until_s)
        except MinerFailure:
            self._count()
            raise
        except BaseException:
            with suppress(MinerFailure):
                self._count()
            raise
        self._count()
        self._check_end()

    async def _forward(self, idle_s: float, until_s: float) -> None:
        clock = asyncio.get_running_loop().time
        while not self._done:
            data = await self._answer.read(until_s)
            if not data:
                raise MinerFailure("its stream ended without [DONE]")
            events_before = self._events
            await self._take(data, self._attempt.received())
            if self._events > events_before:
                until_s = clock() + idle_s

    async def _take(self, data: bytes, at_s: float) -> None:
        """Forward the events that `data` completes, note them to be counted, complain about what follows."""
        forward, failure = [], None
        try:
            for event in self._splitter.feed(data):
                payload = self._read(event)
                if payload is not None:
                    forward.append(event.raw)
                    self._uncounted.append((payload, at_s))
                    self._uncounted_bytes += len(event.raw)
        except MinerFailure as error:
            failure = error
        if forward:
            headers = {} if self._response.started else self._attempt.headers()
            await self._response.send_events(b"".join(forward), headers)
        if len(self._uncounted) >= COUNTED_TOGETHER or self._uncounted_bytes > MAX_UNCOUNTED_BYTES:
            self._count()
        if failure is not None:
            raise failure

    def _count(self) -> None:
        """Count what has been forwarded since the last time.

        Raises:
            MinerFailure: it has not the shape of an answer with token ids.
        """
        uncounted, self._uncounted, self._uncounted_bytes = self._uncounted, [], 0
        for payload, at_s in uncounted:
            self._attempt.tally.add(payload, at_s)

    def _read(self, event: Event) -> dict[str, Any] | None:
        """The payload of an event that the client gets; None for one that it does not."""
        if event.data is None or self._done:
            return None
        self._events += 1
        if event.data.strip() == DONE:
            self._done = True
            return None
        part = read_part(event.data)
        choices = choices_of(part.payload)
        if self._attempt.receipt is not None:
            raise MinerFailure("its stream went on after the receipt")
        if part.receipt is None:
            return part.payload
        if choices:
            raise MinerFailure("its receipt came in an event with choices")
        self._attempt.receipt = part.receipt
        return None

    def _check_end(self) -> None:
        self._attempt.tally.check_complete()
        if self._attempt.receipt is None:
            raise MinerFailure("its stream had no receipt")


async def take_whole_answer(attempt: Attempt, answer: MinerAnswer) -> dict[str, Any]:
    """An answer in one piece, without the receipt.

    Raises:
        MinerFailure: it is not an OpenAI answer with token ids and a receipt, or comes too late.
    """
    body = await answer.read_whole()
    at_s = attempt.received()
    part = read_part(body)
    attempt.receipt = part.receipt
    attempt.tally.add(part.payload, at_s)
    attempt.tally.check_complete()
    if part.receipt is None:
        raise MinerFailure("its answer had no receipt")
    if not attempt.request.shows_token_ids:
        remove_token_ids(part.payload)
    return part.payload
