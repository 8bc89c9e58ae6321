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
from gateway.event_stream import DONE, EventSplitter
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
        self._failure: MinerFailure | None = None
        self._held = b""
        self._clock = asyncio.get_running_loop().time
        self._idle_s = self._until_s = 0.0

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
        """Forward until [DONE]: the first events from here, and later ones too while the client is slow;
        all others as they come, in the event loop's own callback."""
        self._idle_s, self._until_s = idle_s, until_s
        while not self._done:
            if self._response.flows:
                await self._answer.pour(self._pass_on, self._until_s)
            events, self._held = self._held, b""
            if not events and not self._done:
                events = self._take(await self._answer.read(self._until_s))
            if events:
                headers = {} if self._response.started else self._attempt.headers()
                await self._response.send_events(events, headers)
            self._look_back()

    def _pass_on(self, data: bytes) -> float:
        """Forward what has just come; a `Take`."""
        events = self._take(data)
        if events and not self._response.forward(events):
            self._held = events
            return 0.0
        self._look_back()
        return 0.0 if self._done else self._until_s

    def _take(self, data: bytes) -> bytes:
        """Of the events that `data` completes, those that the client gets, noted to be counted.

        At a malformed one it stops: that is complained about after the others have been forwarded.
        """
        at_s, events_before, forward = self._attempt.received(), self._events, data
        try:
            only = self._splitter.only_event(data)
            if only is None:
                forward = self._take_several(data, at_s)
            elif (payload := self._read(only)) is None:
                forward = b""
            else:
                self._uncounted.append((payload, at_s))
                self._uncounted_bytes += len(data)
        except MinerFailure as error:
            self._failure, forward = error, b""
        if self._events > events_before:
            self._until_s = self._clock() + self._idle_s
        return forward

    def _take_several(self, data: bytes, at_s: float) -> bytes:
        if not data:
            raise MinerFailure("its stream ended without [DONE]")
        forward = []
        try:
            for event in self._splitter.feed(data):
                payload = self._read(event.data)
                if payload is not None:
                    forward.append(event.raw)
                    self._uncounted.append((payload, at_s))
                    self._uncounted_bytes += len(event.raw)
        except MinerFailure as error:
            self._failure = error
        return b"".join(forward)

    def _look_back(self) -> None:
        """Count now and then, and complain about what was malformed.

        Raises:
            MinerFailure: it was, or it has not the shape of an answer with token ids.
        """
        if len(self._uncounted) >= COUNTED_TOGETHER or self._uncounted_bytes > MAX_UNCOUNTED_BYTES:
            self._count()
        if self._failure is not None:
            raise self._failure

    def _count(self) -> None:
        """Count what has been forwarded since the last time.

        Raises:
            MinerFailure: it has not the shape of an answer with token ids.
        """
        uncounted, self._uncounted, self._uncounted_bytes = self._uncounted, [], 0
        for payload, at_s in uncounted:
            self._attempt.tally.add(payload, at_s)

    def _read(self, data: bytes | None) -> dict[str, Any] | None:
        """The payload of an event that the client gets; None for one that it does not."""
        if data is None or self._done:
            return None
        self._events += 1
        if data.startswith(b"[") and data.strip() == DONE:
            self._done = True
            return None
        payload, receipt = read_part(data)
        choices = choices_of(payload)
        if self._attempt.receipt is not None:
            raise MinerFailure("its stream went on after the receipt")
        if receipt is None:
            return payload
        if choices:
            raise MinerFailure("its receipt came in an event with choices")
        self._attempt.receipt = receipt
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
    payload, attempt.receipt = read_part(body)
    attempt.tally.add(payload, at_s)
    attempt.tally.check_complete()
    if attempt.receipt is None:
        raise MinerFailure("its answer had no receipt")
    if not attempt.request.shows_token_ids:
        remove_token_ids(payload)
    return payload
