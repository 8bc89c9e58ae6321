"""Keeps every miner busy enough to be audited: sends synthetic requests where organic ones are few.

They go through the public gateway and are recorded, drawn, audited, scored and published like all others.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Protocol

from shared.errors import DownloadFailed
from validator.clock import Clock
from validator.leases import LeaseLost
from validator.synthetic_client import GatewayTrouble, Reply
from validator.synthetic_observer import TrafficObserver
from validator.synthetic_rate import needed_rate, next_request
from validator.synthetic_requests import Draft, RequestWriter, with_seed
from validator.synthetic_state import StateKeeper
from validator.troubles import Troubles

log = logging.getLogger(__name__)

LONGEST_GAP_S = 2.0
"""After so long at most, rates are computed anew from what has been answered since."""

SAVE_EVERY_MS = 30_000
MOST_UNANSWERED = 64
"""Requests under way at once; miners that let all of them hang get no more."""

SUBJECT = "synthetic traffic"
LOGS = "record logs, for synthetic traffic"

Sleep = Callable[[float], Awaitable[None]]


class Asking(Protocol):
    """What carries a request to a miner."""

    async def ask(self, draft: Draft, miner_hotkey: str) -> Reply:
        """What the miner answered, if it did.

        Raises:
            GatewayTrouble: no miner is to blame.
        """
        ...


class SyntheticTraffic:
    """Sends requests until it is cancelled.

    Args:
        miners: gives the hotkeys that should be served with requests now.
        target: answers that each miner should give in `window_s` seconds, organic ones included.
    """

    def __init__(
        self,
        miners: Callable[[], Iterable[str]],
        target: int,
        window_s: float,
        client: Asking,
        writer: RequestWriter,
        observer: TrafficObserver,
        keeper: StateKeeper,
        troubles: Troubles,
        clock: Clock,
        chance: random.Random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._miners, self._target, self._window_s = miners, target, window_s
        self._client, self._writer, self._observer = client, writer, observer
        self._keeper, self._troubles = keeper, troubles
        self._clock, self._chance, self._sleep = clock, chance, sleep
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._saved_at_ms = clock()

    async def run(self) -> None:
        """Follow the log and send, for ever."""
        try:
            while True:
                await self.follow()
                wait_s, miner_hotkey = self.next()
                await self._sleep(wait_s)
                if miner_hotkey is not None and len(self._under_way) < MOST_UNANSWERED:
                    task = asyncio.create_task(self.ask(miner_hotkey))
                    self._under_way[task] = miner_hotkey
                    task.add_done_callback(self._ended)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)
            self._save()

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._under_way[task]
        with suppress(asyncio.CancelledError):
            if error := task.exception():
                log.error("a synthetic request failed through a defect", exc_info=error)

    async def follow(self) -> None:
        """Take in what is new in the log, and store what has been learned now and then."""
        try:
            await asyncio.to_thread(self._observer.follow)
        except DownloadFailed as error:
            self._troubles.report(LOGS, f"{error}; trying again")
        else:
            self._troubles.clear(LOGS)
        if self._clock() >= self._saved_at_ms + SAVE_EVERY_MS:
            await asyncio.to_thread(self._save)

    def next(self) -> tuple[float, str | None]:
        """(seconds to wait, the miner to ask then, or None to draw again)."""
        since_ms = self._clock() - round(self._window_s * 1000)
        waiting = list(self._under_way.values())
        rates = {
            hotkey: needed_rate(
                self._observer.answers_since(hotkey, since_ms) + waiting.count(hotkey),
                self._target,
                self._window_s,
            )
            for hotkey in self._miners()
        }
        return next_request(rates, LONGEST_GAP_S, self._chance)

    async def ask(self, miner_hotkey: str) -> None:
        """Send one request to that miner, and learn from the answer what can be said next."""
        draft = self._writer.write(self._observer.reservoir.draw())
        reply = await self._send(draft, miner_hotkey)
        if reply is not None and reply.text is not None:
            self._writer.answered(draft, reply.text)

    def write_probe(self, seeded: bool) -> Draft:
        """A request of a round; with a seed it has the same answer however often it is sent.

        Most clients give none, so one alone would be told by it.
        """
        draft = self._writer.write(self._observer.reservoir.draw())
        return with_seed(draft, self._chance) if seeded else draft

    async def probe(self, draft: Draft, miner_hotkey: str) -> Reply | None:
        """Send a request of a round; what came of it, once it has ended, or None.

        Nothing goes on from its answer: the ids of rounds are published, and would tell what does.
        """
        return await self._send(draft, miner_hotkey, of_round=True)

    async def _send(self, draft: Draft, miner_hotkey: str, of_round: bool = False) -> Reply | None:
        self._observer.note_own(draft.body, of_round)
        try:
            reply = await self._client.ask(draft, miner_hotkey)
        except GatewayTrouble as error:
            self._troubles.report(SUBJECT, f"{error}; miners with few clients are not audited enough")
            return None
        self._troubles.clear(SUBJECT)
        return reply

    def _save(self) -> None:
        self._saved_at_ms = self._clock()
        if miners := frozenset(self._miners()):
            self._observer.forget_all_but(miners)
        try:
            self._keeper.save(self._observer.state())
        except (OSError, LeaseLost) as error:
            log.error("the state of synthetic traffic can't be stored: %s", error)
