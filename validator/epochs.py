"""Opens epochs, closes them when their time is over and their audits are done, and seals the result."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shared.chain import Block, Neuron
from shared.signing import Signer
from validator.audit_loop import AuditLoop
from validator.block_window import BlockWindow
from validator.clock import Clock
from validator.epoch_state import Epoch, EpochState
from validator.epoch_summary import EpochSummary, epoch_files, file_digests, results_of, seal
from validator.measurement import EpochInputs, RegisteredMiner
from validator.metagraph import Metagraph
from validator.request_state import RequestState
from validator.scoring_config import ScoringConfig
from validator.weight_state import WeightEntry

log = logging.getLogger(__name__)

JITTER_SHARE = 0.03
"""Epochs are longer or shorter by up to this share, so that nobody can time the last request."""

JITTERED_FROM_SECONDS = 300.0
"""Shorter epochs are for trying things out; they last as long as they say."""

MIN_GRACE_MS = 60_000
"""A closing epoch waits for its audits at least so long, and at most half an epoch."""


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
        """How long a closing epoch waits for its audits while the chain can be read."""
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
    ) -> None:
        self._terms, self._signer = terms, signer
        self._epochs, self._requests = epochs, requests
        self._audits, self._blocks, self._metagraph = audits, blocks, metagraph
        self._clock, self._chance = clock, chance
        self._chain_trouble_at_ms = 0

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
        elif await self._audits.settled(closing.number) or self._out_of_patience(closing):
            await self._score(closing)

    def _close_when_over(self) -> None:
        current = self._epochs.in_phase("open")
        if current is not None and self._clock() >= current.ends_at_ms:
            log.info("epoch %d is over, epoch %d is open", current.number, self._open_next())

    def _out_of_patience(self, closing: Epoch) -> bool:
        since = max(closing.closing_since_ms or 0, self._chain_trouble_at_ms)
        return self._clock() >= since + self._terms.grace_ms

    async def _score(self, closing: Epoch) -> None:
        neurons = await self._metagraph.refresh()
        newest = self._blocks.newest or await self._blocks.refresh()
        outstanding = await self._audits.outstanding(closing.number)
        await asyncio.to_thread(self._seal, closing, neurons, newest, outstanding)

    def _seal(self, closing: Epoch, neurons: Sequence[Neuron], newest: Block, outstanding: int) -> None:
        summary = self._summary(closing, neurons, newest, outstanding)
        hotkeys = {miner.uid: miner.hotkey for miner in summary.miners}
        entries = [WeightEntry(one.uid, hotkeys[one.uid], one.weight) for one in summary.weights]
        detail = "" if entries else "no miner earned anything; every score says why"
        self._epochs.save_scored(closing.number, seal(summary, self._signer), entries, detail)
        log.info(
            "epoch %d is scored: %d of %d miners earn", closing.number, len(entries), len(summary.scores)
        )

    def _summary(
        self, closing: Epoch, neurons: Sequence[Neuron], newest: Block, outstanding: int
    ) -> EpochSummary:
        before = self._epochs.sealed()
        requests = self._requests.facts(closing.number)
        inputs = EpochInputs(
            epoch=closing.number,
            requests=requests,
            verdicts=self._requests.verdicts(closing.number),
            miners=_registered(neurons, {request.miner_hotkey for request in requests}),
            history=before.summary().history_after if before else (),
        )
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
            files=file_digests(epoch_files(closing.number, inputs.requests, inputs.verdicts)),
            miners=tuple(inputs.miners),
            audits_outstanding=outstanding,
            history=tuple(inputs.history),
            scoring=self._terms.scoring,
            **dict(results),
        )


def _registered(neurons: Sequence[Neuron], served: set[str]) -> tuple[RegisteredMiner, ...]:
    """Neurons that serve an axon or served a request, by uid."""
    miners = (neuron for neuron in neurons if neuron.axon or neuron.hotkey in served)
    return tuple(
        RegisteredMiner(uid=neuron.uid, hotkey=neuron.hotkey)
        for neuron in sorted(miners, key=lambda neuron: neuron.uid)
    )
