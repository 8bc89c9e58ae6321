"""A published epoch of any size: real formats, receipts, trees and signatures, and no model behind them."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.epoch_answers import EPOCH, EpochSize, Say, all_published, block_after, blocks, miner, record
from shared.canonical import sha256_hex
from shared.dataset import day_of, manifest_key
from shared.object_store import FolderStore
from tests.validator.auditor_examples import AUDITOR, example_verdict
from validator.audit_coverage import coverage
from validator.challenge_selection import record_seed
from validator.epoch_summary import EpochSummary, results_of, seal
from validator.epoch_tables import EpochContents, WeightRow, epoch_files, records_root
from validator.manifest import manifest_bytes
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.published_rows import ChallengeExchange, PublishedText
from validator.publishing import publish
from validator.request_facts import RequestFacts
from validator.request_state import RequestKey
from validator.scoring_config import ScoringConfig
from validator.spool import Spool
from validator.verdicts import AuditedPoint, Verdict


class EpochMaker:
    """Makes one epoch and publishes it into a folder."""

    def __init__(self, size: EpochSize, say: Say) -> None:
        self._size, self._say = size, say
        self._numbers: dict[RequestKey, int] = {}

    def publish(self, store: FolderStore) -> None:
        """Make the epoch and publish it. Takes about 2 ms of two cores for a request."""
        facts: list[RequestFacts] = []
        texts: list[PublishedText] = []
        for number, one, text in all_published(self._size, self._say):
            self._numbers[one.key] = number
            facts.append(one)
            texts += [text] if text else []
        facts.sort(key=lambda one: one.key)
        inputs, exchanges = self._audited(facts)
        self._say(f"{len(exchanges)} answers are audited; writing the files")
        self._seal(store, inputs, exchanges, texts)

    def _audited(self, facts: list[RequestFacts]) -> tuple[EpochInputs, list[ChallengeExchange]]:
        """Audits as the rule asks for them: a failed one can make others due."""
        inputs = EpochInputs(
            epoch=EPOCH,
            requests=facts,
            verdicts=[],
            miners=[
                RegisteredMiner(uid=one + 1, hotkey=miner(self._size, one).signer.ss58_address)
                for one in range(self._size.miners)
            ],
            history=(),
            blocks=[
                ChallengeBlock(number=one.number, hash=one.hash, timestamp_ms=one.timestamp_ms)
                for one in blocks()
            ],
        )
        by_key, exchanges = {one.key: one for one in facts}, list[ChallengeExchange]()
        while missing := coverage(inputs, ScoringConfig()).missing:
            audits = [self._audit(by_key[key]) for key in missing]
            exchanges += [exchange for _, exchange in audits]
            inputs = replace(inputs, verdicts=[*inputs.verdicts, *(verdict for verdict, _ in audits)])
        return inputs, exchanges

    def _audit(self, facts: RequestFacts) -> tuple[Verdict, ChallengeExchange]:
        assert facts.receipt is not None
        receipt = facts.receipt.model_dump(mode="json")
        made = record(self._size, self._numbers[facts.key]).model_copy(update={"receipt": receipt})
        block = block_after(made)
        exchange = miner(self._size, made.miner_uid - 1).exchange(made, record_seed(made, block))
        points = tuple(
            AuditedPoint(choice=one.choice, position=one.position, layer=one.layer, distance=1e-4)
            for one in exchange.challenge.points
        )
        return example_verdict(made, block).model_copy(update={"points": points}), exchange

    def _seal(
        self,
        store: FolderStore,
        inputs: EpochInputs,
        exchanges: list[ChallengeExchange],
        texts: list[PublishedText],
    ) -> None:
        scoring = ScoringConfig()
        results, closed_at_ms = results_of(inputs, scoring), blocks()[-1].timestamp_ms
        hotkeys = {one.uid: one.hotkey for one in inputs.miners}
        weights = [WeightRow(**dict(one), hotkey=hotkeys[one.uid]) for one in results.weights]
        contents = EpochContents(
            inputs.requests, texts, exchanges, inputs.verdicts, (), results.scores, weights
        )
        day, root = day_of(closed_at_ms), records_root(inputs.requests)
        files = epoch_files(contents, day, EPOCH)
        digests = tuple(file.digest for file in files)
        manifest = manifest_bytes(EPOCH, day, digests, len(inputs.requests), root, "bench")
        summary = EpochSummary(
            netuid=97,
            model="tiny",
            calibration_sha256=sha256_hex(b"calibration"),
            epoch=EPOCH,
            publisher=AUDITOR.ss58_address,
            opened_at_ms=blocks()[0].timestamp_ms,
            closed_at_ms=closed_at_ms,
            block=blocks()[-1].number,
            block_hash=blocks()[-1].hash,
            previous_digest=None,
            files=digests,
            manifest_sha256=sha256_hex(manifest),
            records=len(inputs.requests),
            records_root=root,
            miners=tuple(inputs.miners),
            challenge_blocks=tuple(inputs.blocks),
            audits_outstanding=0,
            history=(),
            refusals=(),
            scoring=scoring,
            round_secret=None,
            round_commitment=None,
            **dict(results),
        )
        with TemporaryDirectory() as folder:
            spool = Spool(Path(folder))
            named = {file.digest.key: file.data for file in files}
            spool.write(EPOCH, named | {manifest_key(EPOCH): manifest})
            spool.seal(EPOCH, seal(summary, AUDITOR))
            publish(store, EPOCH, spool.files(EPOCH))
