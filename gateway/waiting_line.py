"""Requests that wait because all miners that could serve them are busy: few, briefly, in order."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from gateway.errors import ApiError
from gateway.miner_choice import Place
from gateway.miners import KnownMiner
from gateway.routing_refusals import miners_busy

Take = Callable[[], Place | None]
"""Gives a place at a miner, taken; None while all that could serve the request are busy."""

CouldUse = Callable[[KnownMiner], bool]
"""Whether the request could be served by a miner. Cheap: the line is asked whenever a miner has room."""


@dataclass(frozen=True)
class _Waiting:
    take: Take
    could_use: CouldUse
    found: "asyncio.Future[Place]"


class WaitingLine:
    """Hands out places at miners.

    Args:
        most: requests that wait at once; others are refused.
        wait_s: seconds that each may wait.
    """

    def __init__(self, most: int, wait_s: float) -> None:
        self._most, self._wait_s = most, wait_s
        self._line: list[_Waiting] = []

    def __len__(self) -> int:
        """Requests that wait now."""
        return len(self._line)

    async def place(self, take: Take, could_use: CouldUse) -> Place:
        """A place for a request: at once where a miner is free that nobody in the line could use.

        Raises:
            ApiError: 503; too many wait already, it waited too long, or `take` says that nobody can serve it.
        """
        if place := take():
            return place
        if len(self._line) >= self._most:
            raise miners_busy(len(self._line), self._wait_s)
        waiting = _Waiting(take, could_use, asyncio.get_running_loop().create_future())
        self._line.append(waiting)
        try:
            async with asyncio.timeout(self._wait_s):
                return await waiting.found
        except TimeoutError:
            if place := _in_hand(waiting.found):
                return place
            raise miners_busy(len(self._line) - 1, self._wait_s) from None
        except asyncio.CancelledError:
            if place := _in_hand(waiting.found):
                place.give_back()
            raise
        finally:
            if waiting in self._line:
                self._line.remove(waiting)

    def freed(self, miner: KnownMiner) -> None:
        """A miner has room for one more: the earliest in the line that could use it is given it."""
        for waiting in list(self._line):
            if waiting.found.done() or not waiting.could_use(miner):
                continue
            try:
                place = waiting.take()
            except ApiError as error:
                self._line.remove(waiting)
                waiting.found.set_exception(error)
                continue
            if place is not None:
                self._line.remove(waiting)
                waiting.found.set_result(place)
                return


def _in_hand(found: "asyncio.Future[Place]") -> Place | None:
    """The place that was found just when its request stopped waiting."""
    handed = found.done() and not found.cancelled() and found.exception() is None
    return found.result() if handed else None
