"""Draws requests as soon as their challenge block exists, and audits those that are drawn."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from shared.chain import Block, Neuron
from shared.errors import ChainError, ConstantinopleError
from shared.logs import REQUEST_ID
from shared.records import RequestRecord
from validator.audit_coverage import answer_draw
from validator.audit_leases import AuditLeases
from validator.audit_report import AuditReport
from validator.block_window import BlockWindow, TooOld
from validator.challenge_schedule import AuditPlan, required
from validator.challenge_selection import record_seed
from validator.clock import Clock
from validator.metagraph import Metagraph
from validator.request_facts import facts_of
from validator.request_state import Draw, DrawnRequest, RequestKey, RequestState
from validator.scoring_config import ScoringConfig
from validator.verdicts import MAX_REASON_CHARACTERS, Verdict, VerdictOutcome

log = logging.getLogger(__name__)

CONCURRENT_AUDITS = 16
"""Audits under way at once: they mostly wait, for the miner or for their turn at the reference model."""

CONCURRENT_OF_ONE_MINER = 2
"""Of those, audits of one miner: one that answers slowly does not hold up the others."""

DRAW_BATCH = 200
RETRY_MS = 15_000
"""Pause before an audit that failed through a fault of our own is tried again."""

MAX_ATTEMPTS = 3
"""Audits that fail so often through a fault of our own decide nothing: no request holds an epoch up."""


class Auditing(Protocol):
    """What carries out one audit."""

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> AuditReport:
        """The verdict on one record, and what it rests on.

        Raises:
            ConstantinopleError: the audit could not be carried out, through no fault of the miner.
        """
        ...


class AuditLoop:
    """Call `step` again and again; it starts audits and collects those that have ended.

    Several auditors divide the work: each leases a request before it audits it. `name` is this one's.

    Attributes:
        ended: verdicts since this process began, by outcome.
        waiting: audits that open epochs asked for at the last step and that had not ended.
    """

    def __init__(
        self,
        requests: RequestState,
        auditor: Auditing,
        blocks: BlockWindow,
        metagraph: Metagraph,
        config: ScoringConfig,
        clock: Clock,
        leases: AuditLeases,
        name: str = "",
    ) -> None:
        self._requests, self._auditor = requests, auditor
        self._leases, self._name = leases, name
        self._blocks, self._metagraph = blocks, metagraph
        self._config, self._clock = config, clock
        self._running: dict[RequestKey, asyncio.Task[None]] = {}
        self._held: dict[RequestKey, int] = {}
        self._not_before_ms: dict[RequestKey, int] = {}
        self._attempts: dict[RequestKey, int] = {}
        self.newest_audit_at_ms: int | None = None
        self.ended: Counter[VerdictOutcome] = Counter()
        self.waiting = 0

    @property
    def running(self) -> int:
        """Audits under way."""
        return len(self._running)

    def neuron(self, hotkey: str) -> Neuron | None:
        """The neuron of a hotkey, if it was registered when the metagraph was last read."""
        return self._metagraph.neuron(hotkey)

    async def step(self, plans: Mapping[int, AuditPlan], draws: bool = True) -> None:
        """Draw what can be drawn and start what `plans` ask for, by epoch, the first epoch first.

        Args:
            draws: False leaves the drawing to another auditor.

        Raises:
            ChainError: the chain can't be read; audits that run go on.
        """
        self._collect()
        await self._blocks.refresh()
        if draws:
            await self._draw()
        taken = await asyncio.to_thread(self._leases.taken, plans)
        waiting = 0
        for epoch, plan in plans.items():
            lacking = await self._lacking(epoch, plan)
            waiting += len(lacking)
            await self._start(one for one in lacking if one.key not in taken)
        self.waiting = waiting

    async def keep_leases(self) -> None:
        """Call it several times in `LEASE_MS`: leases stay, and audits whose lease was lost are abandoned."""
        lost = await asyncio.to_thread(self._leases.renew, dict(self._held))
        for key in lost & self._held.keys():
            log.warning("the audit of request %s is left to another auditor, which has leased it", key[0])
            del self._held[key]
            self._running[key].cancel()

    async def settled(self, epoch: int, plan: AuditPlan) -> bool:
        """Whether every request of `epoch` is drawn and every audit that it takes has ended."""
        return plan.complete and not await self._lacking(epoch, plan)

    async def _lacking(self, epoch: int, plan: AuditPlan) -> list[DrawnRequest]:
        """Audits that `plan` asks for and that have not been made, those of departed hotkeys left out."""
        drawn = await asyncio.to_thread(self._requests.drawn, epoch)
        wanted = (one for one in required(drawn, plan, self._config) if one.outcome is None)
        return [one for one in wanted if self._metagraph.neuron(one.key[1]) is not None]

    async def stop(self) -> None:
        """Abandon audits under way; they are made again after the next start."""
        held = dict(self._held)
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._running.clear()
        await asyncio.to_thread(self._leases.release, held)
        self._held.clear()

    async def join(self) -> None:
        """Wait for the audits under way."""
        if self._running:
            await asyncio.wait(self._running.values())
        self._collect()

    def _collect(self) -> None:
        ended = [key for key, task in self._running.items() if task.done()]
        for key in ended:
            task = self._running.pop(key)
            if not task.cancelled():
                task.result()
        now_ms = self._clock()
        self._not_before_ms = {key: until for key, until in self._not_before_ms.items() if until > now_ms}

    async def _draw(self) -> None:
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
                draws.append(Draw(key, block, answer_draw(facts_of(record), block.hash)))
        if draws:
            await asyncio.to_thread(self._requests.set_draws, draws)
        if too_old:
            log.warning(
                "%d records can't be audited: the blocks after them are older than the chain's nodes keep. "
                "Keep the auditor running while the gateway is",
                len(too_old),
            )
            await asyncio.to_thread(self._requests.give_up, too_old)

    async def _start(self, due: Iterable[DrawnRequest]) -> None:
        chosen = dict(self._choice(due))
        self._held |= await asyncio.to_thread(self._leases.take, list(chosen))
        for key, axon in chosen.items():
            if key in self._held:
                self._running[key] = asyncio.create_task(self._audit(key, axon))

    def _choice(self, due: Iterable[DrawnRequest]) -> Iterator[tuple[RequestKey, str]]:
        """What there is room for, each with its miner's axon."""
        of_miners = Counter(hotkey for _, hotkey in self._running)
        room = CONCURRENT_AUDITS - len(self._running)
        for request in due:
            if room <= 0:
                return
            hotkey = request.key[1]
            waits = request.key in self._not_before_ms or of_miners[hotkey] >= CONCURRENT_OF_ONE_MINER
            neuron = self._metagraph.neuron(hotkey)
            if request.key in self._running or waits or neuron is None:
                continue
            room -= 1
            of_miners[hotkey] += 1
            yield request.key, neuron.axon or ""

    async def _audit(self, key: RequestKey, axon: str) -> None:
        """One audit under its lease; it is given back when nothing comes of the audit."""
        try:
            if not await self._judge(key, axon, self._held[key]) and key in self._held:
                await asyncio.to_thread(self._leases.release, {key: self._held[key]})
        finally:
            self._held.pop(key, None)

    async def _judge(self, key: RequestKey, axon: str, token: int) -> bool:
        """Whether the request has a verdict now."""
        found = await asyncio.to_thread(self._requests.audit_of, key)
        if found is None:
            return False
        record, block = found
        REQUEST_ID.set(record.request_id)
        try:
            report = await self._auditor.audit(record, axon, block)
        except ConstantinopleError as error:
            log.error("the audit of request %s could not be carried out: %s", record.request_id, error)
            if isinstance(error, ChainError) or not self._is_last_attempt(key):
                self._not_before_ms[key] = self._clock() + RETRY_MS
                return False
            report = AuditReport(_undecided(record, block, error, self._clock()))
        self._attempts.pop(key, None)
        self.newest_audit_at_ms = self._clock()
        stored = await asyncio.to_thread(self._requests.add_report, report, token, self._name)
        if stored:
            self.ended[report.verdict.outcome] += 1
            log.info(
                "audit of request %s by miner %d: %s (%s)",
                record.request_id,
                record.miner_uid,
                report.verdict.outcome,
                report.verdict.reason,
            )
        return stored

    def _is_last_attempt(self, key: RequestKey) -> bool:
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key] >= MAX_ATTEMPTS


def _undecided(
    record: RequestRecord, block: Block, error: ConstantinopleError, audited_at_ms: int
) -> Verdict:
    """The verdict on a request that the auditor itself can't audit."""
    words = f"the auditor failed at this request {MAX_ATTEMPTS} times: {error}"
    return Verdict(
        request_id=record.request_id,
        miner_uid=record.miner_uid,
        miner_hotkey=record.miner_hotkey,
        outcome="inconclusive",
        check="request",
        reason=words[:MAX_REASON_CHARACTERS],
        evidence=(),
        log_e=0.0,
        points=(),
        tokens=None,
        challenge_block=block.number,
        challenge_block_hash=block.hash,
        challenge_seed=record_seed(record, block),
        audited_at_ms=audited_at_ms,
    )
