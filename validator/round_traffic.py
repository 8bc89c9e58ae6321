"""Holds rounds of probes: when the chain's newest block calls for one, asks its members all at once.

A round that asks everybody goes on: each member is asked again as soon as it has answered, until the round's
time is over. Who refuses a request, or fails, is asked the same one again: its time passes, and nobody comes
by an easier one. No other round begins meanwhile.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

from shared.chain import Block
from validator.clock import Clock
from validator.leases import LeaseLost
from validator.probe_rounds import (
    MAX_ROUND_LAG_MS,
    MOST_REQUESTS,
    ProbeRound,
    RoundDraw,
    RoundRequests,
    members,
    round_after,
    slot,
)
from validator.round_state import RoundState
from validator.scoring_config import ScoringConfig
from validator.synthetic_client import Reply
from validator.synthetic_requests import Draft

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
"""Pause between looks at the newest block."""

ASK_AGAIN_S = 0.5
"""Pause before a member is asked again that has not answered, or to whom the gateway let no request through,
as while it rests."""

MOST_ROUNDS_AT_ONCE = 8
"""Rounds under way; while miners let so many hang, no further one is begun."""

Sleep = Callable[[float], Awaitable[None]]


class Probing(Protocol):
    """What sends synthetic requests."""

    def write_probe(self, seeded: bool) -> Draft:
        """A request; whoever is asked a seeded one twice has the same to do again."""
        ...

    async def probe(self, draft: Draft, miner_hotkey: str) -> Reply | None:
        """What came of the request, once it has ended; None when the gateway made none of it."""
        ...


class RoundTraffic:
    """Holds rounds until it is cancelled.

    Args:
        miners: gives the hotkeys that can be asked now.
        newest_block: the newest block that was seen.
        epoch: gives the number of the open epoch and the secret of its rounds, or None while there is none.
    """

    def __init__(
        self,
        miners: Callable[[], Iterable[str]],
        newest_block: Callable[[], Block | None],
        epoch: Callable[[], tuple[int, str] | None],
        traffic: Probing,
        state: RoundState,
        config: ScoringConfig,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._miners, self._newest_block, self._epoch = miners, newest_block, epoch
        self._traffic, self._state, self._config = traffic, state, config
        self._clock, self._sleep = clock, sleep
        self._slot = -1
        self._full_until_ms = 0
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Look at the chain and hold rounds, for ever."""
        try:
            while True:
                await self.look()
                await self._sleep(LOOK_EVERY_S)
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Abandon the rounds under way; what is known of them is stored."""
        for task in self._under_way:
            task.cancel()
        await self.join()

    async def join(self) -> None:
        """Wait for the rounds under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def look(self) -> None:
        """Begin a round, if the newest block is the first in its 12 s and calls for one."""
        block = self._newest_block()
        if block is None or slot(block.timestamp_ms) <= self._slot:
            return
        self._slot = slot(block.timestamp_ms)
        late_ms = self._clock() - block.timestamp_ms
        found = await asyncio.to_thread(self._epoch)
        drawn = round_after(found[1], block.hash, self._config) if found else None
        if found is None or drawn is None or late_ms > MAX_ROUND_LAG_MS // 2:
            return
        if len(self._under_way) >= MOST_ROUNDS_AT_ONCE:
            log.warning("no round after block %d: %d are still under way", block.number, len(self._under_way))
            return
        task = asyncio.create_task(self._hold(block, found[1], drawn))
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, LeaseLost):
            log.warning("a round is abandoned: %s", error)
        elif error:
            log.error("a round of probes failed through a defect", exc_info=error)

    async def _hold(self, block: Block, secret: str, drawn: RoundDraw) -> None:
        await self._sleep(drawn.delay_ms / 1000)
        found = await asyncio.to_thread(self._epoch)
        now_ms = self._clock()
        if found is None or found[1] != secret or now_ms < self._full_until_ms:
            return
        self._full_until_ms = now_ms + drawn.lasts_ms
        miners = tuple(sorted(set(self._miners())))
        asked = members(secret, block.hash, drawn.full, miners)
        held = ProbeRound(
            block=block.number,
            block_hash=block.hash,
            block_at_ms=block.timestamp_ms,
            full=drawn.full,
            requests_each=drawn.requests_each,
            miners=miners,
            asked=tuple(RoundRequests(hotkey=hotkey, request_ids=()) for hotkey in asked),
        )
        if await asyncio.to_thread(self._state.begin, found[0], held):
            answers = _Answers(held, self._traffic, self._state, self._clock, self._sleep)
            await answers.gather(now_ms + drawn.lasts_ms)


class _Answers:
    """A round's requests under way; what becomes known is stored, so that an epoch's end loses none of it."""

    def __init__(
        self, held: ProbeRound, traffic: Probing, state: RoundState, clock: Clock, sleep: Sleep
    ) -> None:
        self._held, self._traffic, self._state = held, traffic, state
        self._clock, self._sleep = clock, sleep
        self._names: dict[str, list[str]] = {one.hotkey: [] for one in held.asked}
        self._turn = asyncio.Lock()
        self._told = False

    async def gather(self, until_ms: int) -> None:
        """Ask all members at once, again and again until `until_ms`, and wait for the last answer."""
        await asyncio.gather(
            *(
                self._ask_on(hotkey, until_ms)
                for hotkey in self._names
                for _ in range(self._held.requests_each)
            )
        )

    async def _ask_on(self, hotkey: str, until_ms: int) -> None:
        """What the gateway takes for no request is not asked again: no miner has seen it."""
        unanswered: Draft | None = None
        while True:
            draft = unanswered or self._traffic.write_probe(seeded=self._held.full)
            reply = await self._ask(draft, hotkey)
            if self._clock() >= until_ms or len(self._names[hotkey]) >= MOST_REQUESTS:
                return
            if reply is not None:
                unanswered = draft if reply.text is None else None
            if reply is None or unanswered:
                await self._sleep(ASK_AGAIN_S)

    async def _ask(self, draft: Draft, hotkey: str) -> Reply | None:
        """The miner's reply; None when it was not asked."""
        reply = await self._traffic.probe(draft, hotkey)
        if reply is None or reply.request_id is None:
            return None
        self._names[hotkey].append(reply.request_id)
        self._told = True
        async with self._turn:
            if self._told:
                self._told = False
                await asyncio.to_thread(self._state.note, self._known())
        return reply

    def _known(self) -> ProbeRound:
        asked: Sequence[RoundRequests] = [
            RoundRequests(hotkey=hotkey, request_ids=tuple(sorted(names)))
            for hotkey, names in self._names.items()
        ]
        return self._held.model_copy(update={"asked": tuple(asked)})
