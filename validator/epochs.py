"""Opens epochs, closes them when their time is over and their audits are done, and seals the result."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.chain import Block, Neuron
from shared.signing import Signer
from validator.audit_coverage import coverage
from validator.audit_history import standings
from validator.audit_loop import AuditLoop
from validator.block_window import BlockWindow
from validator.challenge_schedule import AuditPlan
from validator.clock import Clock
from validator.epoch_state import Epoch, EpochState, SealedEpoch
from validator.epoch_summary import EpochSummary, epoch_files, file_digests, results_of, seal
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.metagraph import Metagraph
from validator.request_state import RequestState
from validator.round_book import RoundBook
from validator.round_check import evidence_of
from validator.round_history import NO_ROUNDS
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing
from validator.weight_state import WeightEntry

log = logging.getLogger(__name__)

JITTER_SHARE = 0.03
"""Epochs are longer or shorter by up to this share, so that nobody can time the last request."""

JITTERED_FROM_SECONDS = 300.0
"""Shorter epochs are for trying things out; they last as long as they say."""

MIN_GRACE_MS = 60_000
"""A closing epoch waits for its next audit at least so long, and at most half an epoch."""

MAX_GRACES = 4
"""And for all of them at most so many times as long."""


@dataclass(frozen=True)
class EpochTerms:
    """What stays the same from epoch to epoch."""

    netuid: int
    model: str
    calibration_sha256: str
    epoch_seconds: float
    scoring: ScoringConfig

    def length_ms(self, chance: float) -> int:
        """Length of an epoch; `chance` is uniform in [0, 1)."""
        jitter = JITTER_SHARE if self.epoch_seconds >= JITTERED_FROM_SECONDS else 0.0
        return round(self.epoch_seconds * 1000 * (1 + jitter * (2 * chance - 1)))

    @property
    def grace_ms(self) -> int:
        """How long a closing epoch waits for its next audit while the chain can be read."""
        return max(MIN_GRACE_MS, round(self.epoch_seconds * 500))


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
        signer: Signer,
        clock: Clock,
        chance: Callable[[], float],
        rounds: RoundBook,
    ) -> None:
        self._terms, self._signer = terms, signer
        self._epochs, self._requests = epochs, requests
        self._audits, self._blocks, self._metagraph = audits, blocks, metagraph
        self._clock, self._chance = clock, chance
        self._rounds = rounds
        self._chain_trouble_at_ms = 0
        self._standings: tuple[str, Mapping[str, Standing]] = ("", {})

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
        """What is to be audited now, by epoch, the closing one first. Blocks.

        While an epoch closes, the standings with which the next one begins are not known.
        """
        plans: dict[int, AuditPlan] = {}
        closing, current = self.closing(), self._epochs.in_phase("open")
        if closing is not None:
            drawn = self._requests.count_undrawn(closing) == 0
            plans[closing] = AuditPlan(self._last_standings(), complete=drawn)
        if current is not None:
            known = self._last_standings() if closing is None else None
            plans[current.number] = AuditPlan(known, complete=False)
        return plans

    def _last_standings(self) -> Mapping[str, Standing]:
        """The sequential tests as the newest sealed epoch left them."""
        sealed = self._epochs.sealed()
        digest = sealed.digest if sealed else ""
        if digest != self._standings[0]:
            self._standings = (digest, _standings_after(sealed))
        return self._standings[1]

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
        elif await self._is_settled(closing) or self._out_of_patience(closing):
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
        progress = max(since, self._audits.newest_audit_at_ms or 0)
        latest = since + MAX_GRACES * self._terms.grace_ms
        return self._clock() >= min(progress + self._terms.grace_ms, latest)

    async def _score(self, closing: Epoch) -> None:
        neurons = await self._metagraph.refresh()
        newest = self._blocks.newest or await self._blocks.refresh()
        await asyncio.to_thread(self._seal, closing, neurons, newest)

    def _seal(self, closing: Epoch, neurons: Sequence[Neuron], newest: Block) -> None:
        before = self._epochs.sealed()
        inputs, outstanding = self._audited(self._inputs(closing, neurons, before))
        summary = self._summary(closing, inputs, outstanding, before, newest)
        hotkeys = {miner.uid: miner.hotkey for miner in summary.miners}
        entries = [WeightEntry(one.uid, hotkeys[one.uid], one.weight) for one in summary.weights]
        detail = "" if entries else "no miner earned anything; every score says why"
        judged = {(one.request_id, one.miner_hotkey) for one in inputs.verdicts}
        self._epochs.save_scored(closing.number, seal(summary, self._signer), entries, detail, judged)
        log.info(
            "epoch %d is scored: %d of %d miners earn", closing.number, len(entries), len(summary.scores)
        )

    def _audited(self, inputs: EpochInputs) -> tuple[EpochInputs, int]:
        """The inputs with exactly the verdicts that the rule asks for, and how many of them are missing."""
        found = coverage(inputs, self._terms.scoring)
        if found.missing:
            log.warning(
                "epoch %d has to be scored without %d of its audits, so watchtowers will not follow it: "
                "keep the auditor running, and give it a faster --device or longer --epoch-seconds",
                inputs.epoch,
                len(found.missing),
            )
        surplus = set(found.surplus)
        kept = [one for one in inputs.verdicts if (one.request_id, one.miner_hotkey) not in surplus]
        return replace(inputs, verdicts=kept), len(found.missing)

    def _summary(
        self,
        closing: Epoch,
        inputs: EpochInputs,
        outstanding: int,
        before: SealedEpoch | None,
        newest: Block,
    ) -> EpochSummary:
        results = results_of(inputs, self._terms.scoring)
        return EpochSummary(
            netuid=self._terms.netuid,
            model=self._terms.model,
            calibration_sha256=self._terms.calibration_sha256,
            epoch=closing.number,
            publisher=self._signer.ss58_address,
            opened_at_ms=closing.opened_at_ms,
            closed_at_ms=self._clock(),
            block=newest.number,
            block_hash=newest.hash,
            previous_digest=before.digest if before else None,
            files=file_digests(
                epoch_files(closing.number, inputs.requests, inputs.verdicts, inputs.rounds.rounds)
            ),
            miners=tuple(inputs.miners),
            challenge_blocks=tuple(inputs.blocks),
            audits_outstanding=outstanding,
            history=tuple(inputs.history),
            refusals=tuple(inputs.refusals),
            round_secret=inputs.rounds.secret,
            round_commitment=inputs.rounds.commitment,
            scoring=self._terms.scoring,
            **dict(results),
        )

    def _inputs(self, closing: Epoch, neurons: Sequence[Neuron], before: SealedEpoch | None) -> EpochInputs:
        requests = self._requests.facts(closing.number)
        blocks = tuple(
            ChallengeBlock(number=one.number, hash=one.hash, timestamp_ms=one.timestamp_ms)
            for one in self._requests.challenge_blocks(closing.number)
        )
        last = before.summary() if before else None
        rounds_before = last.rounds_after if last else NO_ROUNDS
        return EpochInputs(
            epoch=closing.number,
            requests=requests,
            verdicts=self._requests.verdicts(closing.number),
            miners=_registered(neurons, {request.miner_hotkey for request in requests}),
            history=last.history_after if last else (),
            refusals=last.refusals_after if last else (),
            rounds=self._rounds.close(closing.number, evidence_of(requests, blocks), rounds_before),
            blocks=blocks,
        )


def _standings_after(sealed: SealedEpoch | None) -> Mapping[str, Standing]:
    return standings(sealed.summary().history_after) if sealed else {}


def _registered(neurons: Sequence[Neuron], served: set[str]) -> tuple[RegisteredMiner, ...]:
    """Neurons that serve an axon or served a request, by uid."""
    miners = (neuron for neuron in neurons if neuron.axon or neuron.hotkey in served)
    return tuple(
        RegisteredMiner(uid=neuron.uid, hotkey=neuron.hotkey)
        for neuron in sorted(miners, key=lambda neuron: neuron.uid)
    )
