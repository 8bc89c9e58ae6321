"""Hedging: a second miner is asked when the first is slow to begin, and the faster one serves.

Only streams are hedged: an answer in one piece says nothing before its end. The slower attempt is called off
before it brought the client anything. It is recorded as `client_left`, neither an answer nor a failure, and
costs the client nothing. So that no miner can turn answers that it will not give into such records, each has
a budget: beyond it the miner is waited for, and charged when it does not answer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass

from gateway.attempt import Attempt
from gateway.client_connection import Response
from gateway.clock import Clock
from gateway.errors import MinerFailure
from gateway.miner_choice import Wish
from gateway.pace import Measured

HEDGE_SHARE = 0.05
"""The slowest 5 % of streams, and 5 % of the attempts at each miner at most: hedging after the 95th
percentile keeps the additional load at that (Dean and Barroso, "The Tail at Scale", 2013)."""

FEWEST_TIMES, MOST_TIMES = 40, 200
"""Times to the first token, of each band of prompt lengths, that a percentile is taken of: with fewer than 40
the 95th would be the largest but one."""


class Hedging:
    """Decides when a second miner is asked."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._first_s: dict[int, deque[float]] = {}

    def note(self, answer: Measured) -> None:
        """Take in how long a stream's first token took."""
        if answer.first_s is not None:
            self._first_s.setdefault(answer.band, deque(maxlen=MOST_TIMES)).append(answer.first_s)

    def after_s(self, attempt: Attempt, wish: Wish) -> float | None:
        """Seconds after which a second miner is asked beside this attempt; None: it is waited for."""
        miner, now_s = attempt.miner, self._clock.monotonic_s()
        budget = max(1.0, HEDGE_SHARE * miner.attempts.at(now_s))
        if not attempt.request.stream or wish.only is not None or miner.hedged.at(now_s) + 1 > budget:
            return None
        return self.delay_s(wish.band)

    def delay_s(self, band: int) -> float | None:
        """The time to the first token that all but HEDGE_SHARE of streams keep; None while few are known."""
        times = sorted(self._first_s.get(band, ()))
        return times[int(len(times) * (1 - HEDGE_SHARE))] if len(times) >= FEWEST_TIMES else None


@dataclass(frozen=True)
class Entry:
    """An attempt.

    Attributes:
        run: makes it, with a response to write to.
        call_off: concludes it when it was called off before it had begun.
    """

    attempt: Attempt
    run: Callable[[Response], Coroutine[None, None, None]]
    call_off: Callable[[], None]


class Race:
    """Attempts at one client's request: the first that has something for the client serves it alone."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._running: dict[asyncio.Task[None], Entry] = {}
        self._winner: asyncio.Task[None] | None = None

    async def run(
        self, first: Entry, second: Callable[[], Entry | None], after_s: float
    ) -> list[MinerFailure]:
        """Make one attempt, and after `after_s` another if the first has brought nothing.

        Returns: the failures when none of them served, or when the one that served broke off.
        """
        try:
            self._start(first)
            await asyncio.wait(self._running, timeout=after_s)
            undecided = self._winner is None and not any(task.done() for task in self._running)
            if undecided and (entry := second()):
                self._start(entry)
            await asyncio.wait(self._running)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
            for entry in self._running.values():
                if not entry.attempt.concluded:
                    entry.call_off()
        return self._failures()

    def _start(self, entry: Entry) -> None:
        task = asyncio.create_task(entry.run(Contender(self._response, self._win)))
        self._running[task] = entry

    def _win(self) -> None:
        """Called by the attempt that has something for the client; calls off the others.

        Raises:
            CancelledError: another attempt was faster.
        """
        current = asyncio.current_task()
        if self._winner is not None and self._winner is not current:
            raise asyncio.CancelledError
        for task, entry in self._running.items():
            if task is current:
                self._winner = task
            else:
                entry.attempt.outrun = True
                task.cancel()

    def _failures(self) -> list[MinerFailure]:
        found: list[MinerFailure] = []
        for task in self._running:
            error = None if task.cancelled() else task.exception()
            if isinstance(error, MinerFailure):
                found.append(error)
            elif error is not None:
                raise error
        served = self._winner is not None and self._winner.exception() is None
        return [] if served else found


class Contender(Response):
    """The response as one of several attempts at a stream has it: writing to it takes winning."""

    def __init__(self, shared: Response, win: Callable[[], None]) -> None:
        super().__init__(shared._send)
        self._shared, self._win = shared, win

    async def send_events(self, data: bytes, headers: Mapping[str, str]) -> None:
        self._win()
        await self._shared.send_events(data, headers)
        self.started = self._shared.started

    @property
    def flows(self) -> bool:
        return self.started and self._shared.flows

    def forward(self, data: bytes) -> bool:
        return self.started and self._shared.forward(data)

    async def end_events(self, data: bytes) -> None:
        await self._shared.end_events(data)
        self.finished = True
