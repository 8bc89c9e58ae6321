"""Opens epochs, closes them when their time is over and their audits are done, and seals the result."""

import asyncio
import logging
from collections.abc import Callable

from validator.audit_loop import AuditLoop
from validator.audit_plans import AuditPlans
from validator.block_window import BlockWindow
from validator.challenge_schedule import AuditPlan
from validator.clock import Clock
from validator.epoch_sealing import EpochSealer
from validator.epoch_state import Epoch, EpochState
from validator.epoch_terms import EpochTerms
from validator.metagraph import Metagraph
from validator.request_state import RequestState
from validator.round_book import RoundBook

log = logging.getLogger(__name__)

MAX_GRACES = 4
"""A closing epoch waits for all of its audits at most so many times as long as for its next."""


class EpochLoop:
    """Call `step` again and again. Every transition is stored before the next one begins."""

    def __init__(
        self,
        terms: EpochTerms,
        epochs: EpochState,
        requests: RequestState,
        audits: AuditLoop,
        blocks: BlockWindow,
        metagraph: Metagraph,
        sealer: EpochSealer,
        clock: Clock,
        chance: Callable[[], float],
        rounds: RoundBook,
    ) -> None:
        self._terms, self._sealer = terms, sealer
        self._epochs, self._requests = epochs, requests
        self._audits, self._blocks, self._metagraph = audits, blocks, metagraph
        self._clock, self._chance = clock, chance
        self._rounds = rounds
        self._chain_trouble_at_ms = 0
        self._plans = AuditPlans(epochs, requests)
        self._progress = (0, 0, 0)

    def ensure_open(self) -> None:
        """Open an epoch if there is none. Blocks."""
        if self._epochs.in_phase("open") is None:
            self._open_next()

    def _open_next(self) -> int:
        now_ms = self._clock()
        return self._epochs.open_next(now_ms, now_ms + self._terms.length_ms(self._chance()))

    def closing(self) -> int | None:
        """The number of the epoch whose audits are being finished. Blocks."""
        epoch = self._epochs.in_phase("closing")
        return epoch.number if epoch else None

    def round_terms(self) -> tuple[int, str] | None:
        """(number of the open epoch, secret of its rounds); None while no epoch is open. Blocks."""
        current = self._epochs.in_phase("open")
        return (current.number, self._rounds.secret(current.number)) if current else None

    def plans(self) -> dict[int, AuditPlan]:
        """What is to be audited now, by epoch, the closing one first. Blocks."""
        return self._plans.plans()

    def note_chain_trouble(self) -> None:
        """The chain can't be read: a closing epoch's patience starts anew."""
        self._chain_trouble_at_ms = self._clock()

    async def step(self) -> None:
        """Go on by one transition, if it is time for one.

        Raises:
            ChainError: the chain can't be read; nothing has changed.
        """
        closing = await asyncio.to_thread(self._epochs.in_phase, "closing")
        if closing is None:
            await asyncio.to_thread(self._close_when_over)
        elif await self._is_settled(closing) or await asyncio.to_thread(self._out_of_patience, closing):
            await self._score(closing)

    async def _is_settled(self, closing: Epoch) -> bool:
        plans = await asyncio.to_thread(self.plans)
        return await self._audits.settled(closing.number, plans[closing.number])

    def _close_when_over(self) -> None:
        current = self._epochs.in_phase("open")
        if current is not None and self._clock() >= current.ends_at_ms:
            log.info("epoch %d is over, epoch %d is open", current.number, self._open_next())

    def _out_of_patience(self, closing: Epoch) -> bool:
        since = max(closing.closing_since_ms or 0, self._chain_trouble_at_ms)
        progress = max(since, self._last_progress_ms(closing.number))
        latest = since + MAX_GRACES * self._terms.grace_ms
        return self._clock() >= min(progress + self._terms.grace_ms, latest)

    def _last_progress_ms(self, epoch: int) -> int:
        """When the newest verdict, of whichever auditor, was seen here."""
        seen = (epoch, self._requests.count_verdicts(epoch))
        if seen != self._progress[:2]:
            self._progress = (*seen, self._clock() if seen[1] else 0)
        return self._progress[2]

    async def _score(self, closing: Epoch) -> None:
        neurons = await self._metagraph.refresh()
        newest = self._blocks.newest or await self._blocks.refresh()
        await asyncio.to_thread(self._sealer.seal, closing, neurons, newest)
