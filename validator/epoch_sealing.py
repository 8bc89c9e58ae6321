"""Seals an epoch that is over: its inputs, what follows from them, its files, and the signed summary."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from shared.canonical import sha256_hex
from shared.chain import Block, Neuron
from shared.dataset import FileDigest, day_of, manifest_key
from shared.signing import Signer
from validator.audit_coverage import coverage
from validator.clock import Clock
from validator.epoch_state import Epoch, EpochState, SealedEpoch
from validator.epoch_summary import EpochResults, EpochSummary, results_of, seal
from validator.epoch_tables import EpochContents, WeightRow, epoch_files, records_root
from validator.epoch_terms import EpochTerms
from validator.manifest import manifest_bytes
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.request_state import RequestState
from validator.round_book import RoundBook
from validator.round_check import evidence_of
from validator.round_history import NO_ROUNDS
from validator.spool import Spool
from validator.weight_state import WeightEntry

log = logging.getLogger(__name__)


class EpochSealer:
    """Reads what the auditor knows of an epoch, and makes it final. Blocks.

    Args:
        spool: where its files lie until they are published; None keeps them in the database, for whoever
            leads then.
    """

    def __init__(
        self,
        terms: EpochTerms,
        epochs: EpochState,
        requests: RequestState,
        rounds: RoundBook,
        signer: Signer,
        clock: Clock,
        spool: Spool | None,
    ) -> None:
        self._terms, self._signer, self._clock = terms, signer, clock
        self._epochs, self._requests, self._rounds = epochs, requests, rounds
        self._spool = spool

    def seal(self, closing: Epoch, neurons: Sequence[Neuron], newest: Block) -> None:
        """Score the epoch, keep its files for publication, then make its summary and weights final.

        Files come first, or in the same transaction: a crash before the summary is final has the epoch scored
        again, after it the files are there.

        Raises:
            StoreError: the disk can't take the files; nothing is final.
        """
        before = self._epochs.sealed()
        inputs, outstanding = self._audited(self._inputs(closing, neurons, before))
        results, closed_at_ms = results_of(inputs, self._terms.scoring), self._clock()
        weights = _weight_rows(inputs, results)
        kept = self._files(inputs, results, weights, day_of(closed_at_ms))
        summary = self._summary(closing, closed_at_ms, inputs, results, outstanding, before, newest, kept)
        entries = [WeightEntry(one.uid, one.hotkey, one.weight) for one in weights]
        detail = "" if entries else "no miner earned anything; every score says why"
        judged = {(one.request_id, one.miner_hotkey) for one in inputs.verdicts}
        sealed = seal(summary, self._signer)
        if self._spool is None:
            self._epochs.save_scored(closing.number, sealed, entries, detail, judged, kept.data)
        else:
            self._spool.write(closing.number, kept.data)
            self._epochs.save_scored(closing.number, sealed, entries, detail, judged)
            self._spool.seal(closing.number, sealed)
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

    def _files(
        self, inputs: EpochInputs, results: EpochResults, weights: Sequence[WeightRow], day: str
    ) -> "_KeptFiles":
        number, root = inputs.epoch, records_root(inputs.requests)
        judged = {(one.request_id, one.miner_hotkey) for one in inputs.verdicts}
        exchanges = [one for one in self._requests.exchanges(number) if one.challenge.key in judged]
        contents = EpochContents(
            requests=inputs.requests,
            texts=self._requests.texts(number),
            exchanges=exchanges,
            verdicts=inputs.verdicts,
            rounds=inputs.rounds.rounds,
            scores=results.scores,
            weights=weights,
        )
        files = epoch_files(contents, day, number)
        digests = tuple(file.digest for file in files)
        manifest = manifest_bytes(number, day, digests, len(inputs.requests), root, self._terms.code_revision)
        data = {file.digest.key: file.data for file in files} | {manifest_key(number): manifest}
        return _KeptFiles(digests, sha256_hex(manifest), len(inputs.requests), root, data)

    def _summary(
        self,
        closing: Epoch,
        closed_at_ms: int,
        inputs: EpochInputs,
        results: EpochResults,
        outstanding: int,
        before: SealedEpoch | None,
        newest: Block,
        kept: "_KeptFiles",
    ) -> EpochSummary:
        return EpochSummary(
            netuid=self._terms.netuid,
            model=self._terms.model,
            calibration_sha256=self._terms.calibration_sha256,
            epoch=closing.number,
            publisher=self._signer.ss58_address,
            opened_at_ms=closing.opened_at_ms,
            closed_at_ms=closed_at_ms,
            block=newest.number,
            block_hash=newest.hash,
            previous_digest=before.digest if before else None,
            files=kept.files,
            manifest_sha256=kept.manifest_sha256,
            records=kept.records,
            records_root=kept.records_root,
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


@dataclass(frozen=True)
class _KeptFiles:
    """What a summary says of its files, and their bytes by key."""

    files: tuple[FileDigest, ...]
    manifest_sha256: str
    records: int
    records_root: str
    data: Mapping[str, bytes]


def _weight_rows(inputs: EpochInputs, results: EpochResults) -> list[WeightRow]:
    hotkeys = {miner.uid: miner.hotkey for miner in inputs.miners}
    return [WeightRow(uid=one.uid, weight=one.weight, hotkey=hotkeys[one.uid]) for one in results.weights]


def _registered(neurons: Sequence[Neuron], served: set[str]) -> tuple[RegisteredMiner, ...]:
    """Neurons that serve an axon or served a request, by uid."""
    miners = (neuron for neuron in neurons if neuron.axon or neuron.hotkey in served)
    return tuple(
        RegisteredMiner(uid=neuron.uid, hotkey=neuron.hotkey)
        for neuron in sorted(miners, key=lambda neuron: neuron.uid)
    )
