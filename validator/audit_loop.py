"""Draws requests as soon as their challenge block exists, and audits those that are drawn."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from shared.chain import Block
from shared.errors import ConstantinopleError
from shared.records import RequestRecord
from validator.block_window import BlockWindow, TooOld
from validator.challenge_schedule import fill_up
from validator.challenge_selection import record_seed, selection_draw
from validator.clock import Clock
from validator.metagraph import Metagraph
from validator.request_state import Draw, DrawnRequest, RequestKey, RequestState
from validator.verdicts import Verdict

log = logging.getLogger(__name__)

CONCURRENT_AUDITS = 4
"""Audits under way at once: they mostly wait, for the miner or for their turn at the reference model."""

DRAW_BATCH = 200
RETRY_MS = 15_000
"""Pause before an audit that failed through a fault of our own is tried again."""


class Auditing(Protocol):
    """What carries out one audit."""

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> Verdict:
        """The verdict on one record.

        Raises:
            ConstantinopleError: the audit could not be carried out, through no fault of the miner.
        """
        ...


class AuditLoop:
    """Call `step` again and again; it starts audits and collects those that have ended."""

    def __init__(
        self,
        requests: RequestState,
        auditor: Auditing,
        blocks: BlockWindow,
        metagraph: Metagraph,
        rate: float,
        minimum: int,
        clock: Clock,
    ) -> None:
        self._requests, self._auditor = requests, auditor
        self._blocks, self._metagraph = blocks, metagraph
        self._rate, self._minimum = rate, minimum
        self._clock = clock
        self._running: dict[RequestKey, asyncio.Task[None]] = {}
        self._not_before_ms: dict[RequestKey, int] = {}
        self.newest_audit_at_ms: int | None = None

    async def step(self, closing: int | None) -> None:
        """Draw what can be drawn, start what is due; `closing` is the epoch whose audits are filled up.

        Raises:
            ChainError: the chain can't be read; audits that run go on.
        """
        self._collect()
        await self._draw()
        due = await asyncio.to_thread(self._requests.due, self._rate)
        if closing is not None:
            drawn = await asyncio.to_thread(self._requests.drawn, closing)
            due = [*(one for one in due if one.epoch == closing), *fill_up(drawn, self._minimum), *due]
        self._start(due)

    async def settled(self, epoch: int) -> bool:
        """Whether every request of `epoch` is drawn and every audit that it takes has ended."""
        if await asyncio.to_thread(self._requests.count_undrawn, epoch):
            return False
        return await self.outstanding(epoch) == 0

    async def outstanding(self, epoch: int) -> int:
        """How many drawn requests of `epoch` lack their audit, those of departed hotkeys left out."""
        drawn = await asyncio.to_thread(self._requests.drawn, epoch)
        wanted = {one.key for one in drawn if one.draw < self._rate and one.outcome is None}
        wanted |= {one.key for one in fill_up(drawn, self._minimum)}
        return sum(self._metagraph.neuron(hotkey) is not None for _, hotkey in wanted)

    async def stop(self) -> None:
        """Abandon audits under way; they are made again after the next start."""
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._running.clear()

    async def join(self) -> None:
        """Wait for the audits under way."""
        if self._running:
            await asyncio.wait(self._running.values())
        self._collect()

    def _collect(self) -> None:
        ended = [key for key, task in self._running.items() if task.done()]
        for key in ended:
            self._running.pop(key).result()
        now_ms = self._clock()
        self._not_before_ms = {key: until for key, until in self._not_before_ms.items() if until > now_ms}

    async def _draw(self) -> None:
        await self._blocks.refresh()
        records = await asyncio.to_thread(self._requests.undrawn, DRAW_BATCH)
        draws: list[Draw] = []
        too_old: list[RequestKey] = []
        for record in records:
            key = (record.request_id, record.miner_hotkey)
            try:
                block = await self._blocks.challenge_block(record.finished_at_ms)
            except TooOld:
                too_old.append(key)
                continue
            if block is not None:
                draws.append(Draw(key, block, selection_draw(record_seed(record, block))))
        if draws:
            await asyncio.to_thread(self._requests.set_draws, draws)
        if too_old:
            log.warning(
                "%d records can't be audited: the blocks after them are older than the chain's nodes keep. "
                "Keep the auditor running while the gateway is",
                len(too_old),
            )
            await asyncio.to_thread(self._requests.give_up, too_old)

    def _start(self, due: Iterable[DrawnRequest]) -> None:
        for request in due:
            if len(self._running) >= CONCURRENT_AUDITS:
                return
            if request.key in self._running or request.key in self._not_before_ms:
                continue
            neuron = self._metagraph.neuron(request.key[1])
            if neuron is not None:
                self._running[request.key] = asyncio.create_task(self._audit(request.key, neuron.axon or ""))

    async def _audit(self, key: RequestKey, axon: str) -> None:
        found = await asyncio.to_thread(self._requests.audit_of, key)
        if found is None:
            return
        record, block = found
        try:
            verdict = await self._auditor.audit(record, axon, block)
        except ConstantinopleError as error:
            log.error("the audit of request %s could not be carried out: %s", record.request_id, error)
            self._not_before_ms[key] = self._clock() + RETRY_MS
            return
        self.newest_audit_at_ms = self._clock()
        if await asyncio.to_thread(self._requests.add_verdict, verdict):
            log.info(
                "audit of request %s by miner %d: %s (%s)",
                record.request_id,
                record.miner_uid,
                verdict.outcome,
                verdict.reason,
            )
