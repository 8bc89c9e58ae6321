"""Published epochs in a folder, and the means to tamper with them, without the publisher's key or with it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from bittensor.sp_core import Keypair

from shared.canonical import canonical_json, sha256_hex
from shared.dataset import FileDigest, Table, day_of, files_of, manifest_key
from shared.identifiers import Message
from shared.object_store import FolderStore
from shared.request_facts import RequestFacts
from tests.validator.audit_rig import NETUID
from tests.validator.auditor_examples import AUDITOR
from validator.epoch_check import Expectations, FollowedEpoch, check_latest
from validator.epoch_evidence import EpochRefused
from validator.epoch_reading import read_requests, read_table
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    parse_message,
    results_of,
    seal,
    summary_key,
)
from validator.epoch_tables import FORMATS, EpochContents, WeightRow, epoch_files, records_root
from validator.manifest import manifest_bytes
from validator.measurement import EpochInputs
from validator.probe_rounds import ProbeRound
from validator.published_rows import ChallengeExchange
from validator.round_history import NO_ROUNDS, RoundInputs
from validator.verdicts import Verdict

HOUR_MS = 3_600_000


class Published:
    """A store with epochs, and the means to tamper with the newest."""

    def __init__(
        self, store: FolderStore, now_ms: int, newest: int = 2, publisher: Keypair = AUDITOR
    ) -> None:
        self.store, self.now_ms, self.newest = store, now_ms, newest
        self.publisher = publisher

    def expected(self, **changes: Any) -> Expectations:
        values: dict[str, Any] = {
            "publisher": self.publisher.ss58_address,
            "netuid": NETUID,
            "max_age_ms": HOUR_MS,
            "now_ms": self.now_ms,
        }
        return Expectations(**(values | changes))

    def followed(self, epoch: int) -> FollowedEpoch:
        return FollowedEpoch(epoch, self.store.get(summary_key(epoch)))

    def summary(self, epoch: int | None = None) -> EpochSummary:
        return parse_message(EpochSummary, self.store.get(summary_key(epoch or self.newest)), "summary")

    def table(self, table: Table) -> list[Any]:
        """The rows of the newest epoch's table."""
        return read_table(self.store, self.summary(), table)

    def key(self, table: Table) -> str:
        """Where the newest epoch's table lies."""
        return files_of(self.summary().files, table)[0].key

    def requests(self) -> list[RequestFacts]:
        return read_requests(self.store, self.summary())

    def verdicts(self) -> list[Verdict]:
        return self.table("verdicts")

    def held(self) -> list[ProbeRound]:
        return self.table("rounds")

    def contents(self) -> EpochContents:
        """All tables of the newest epoch."""
        challenges, answers = self.table("challenges"), self.table("openings")
        exchanges = [
            ChallengeExchange(challenge=one, answers=other)
            for one, other in zip(challenges, answers, strict=True)
        ]
        return EpochContents(
            requests=self.requests(),
            texts=self.table("texts"),
            exchanges=exchanges,
            verdicts=self.verdicts(),
            rounds=self.held(),
            scores=self.table("scores"),
            weights=self.table("weights"),
        )

    def rounds(self) -> RoundInputs:
        summary = self.summary()
        before = self.summary(self.newest - 1).rounds_after if self.newest > 1 else NO_ROUNDS
        return RoundInputs(summary.round_secret, summary.round_commitment, self.held(), before)

    def replace(self, data: bytes, epoch: int | None = None) -> None:
        """Put other bytes in a summary's place, and point to them."""
        self.store.put(summary_key(epoch or self.newest), data)
        newest = self.store.get(summary_key(self.newest))
        pointer = LatestEpoch(epoch=self.newest, digest=sha256_hex(newest))
        self.store.put(LATEST_KEY, canonical_json(pointer))

    def lie(self, signer: Keypair | None = None, **changes: Any) -> None:
        """The publisher itself signs a changed summary."""
        signer = signer or self.publisher
        self.replace(
            seal(self.summary().model_copy(update={"publisher": signer.ss58_address} | changes), signer)
        )

    def lie_with_bytes(self, table: Table, data: bytes, rows: int) -> None:
        """The publisher signs other bytes for one of its files."""
        key = self.key(table)
        self.store.put(key, data)
        digest = FileDigest(table=table, key=key, sha256=sha256_hex(data), size_bytes=len(data), rows=rows)
        kept = [file for file in self.summary().files if file.table != table]
        self.lie(files=(*kept, digest))

    def lie_with_rows(self, table: Table, rows: Sequence[Message]) -> None:
        """The publisher signs other rows of one table, and nothing that follows from them."""
        self.lie_with_bytes(table, FORMATS[table].encode(rows), len(rows))

    def lie_with(self, contents: EpochContents, **changes: Any) -> None:
        """The publisher signs other contents, whatever follows from them."""
        self.lie(**(self.put(contents) | changes))

    def put(self, contents: EpochContents) -> dict[str, Any]:
        """Put files into the store; returns what a summary says of them."""
        summary = self.summary()
        day, root = day_of(summary.closed_at_ms), records_root(contents.requests)
        files = epoch_files(contents, day, self.newest)
        digests = tuple(file.digest for file in files)
        manifest = manifest_bytes(self.newest, day, digests, len(contents.requests), root, "test")
        for file in files:
            self.store.put(file.digest.key, file.data)
        self.store.put(manifest_key(self.newest), manifest)
        return {
            "files": digests,
            "manifest_sha256": sha256_hex(manifest),
            "records": len(contents.requests),
            "records_root": root,
        }

    def lie_with_evidence(self, requests: Sequence[RequestFacts], verdicts: Sequence[Verdict]) -> None:
        """The publisher signs other evidence, with the scores that follow from it."""
        summary = self.summary()
        inputs = EpochInputs(
            self.newest, requests, verdicts, summary.miners, summary.history, rounds=self.rounds()
        )
        results = results_of(inputs, summary.scoring)
        hotkeys = {miner.uid: miner.hotkey for miner in summary.miners}
        kept = {(one.request_id, one.miner_hotkey) for one in requests}
        judged = {(one.request_id, one.miner_hotkey) for one in verdicts}
        contents = self.contents()
        changed = replace(
            contents,
            requests=requests,
            texts=[one for one in contents.texts if one.key in kept],
            exchanges=[one for one in contents.exchanges if one.challenge.key in judged],
            verdicts=verdicts,
            scores=results.scores,
            weights=[
                WeightRow(uid=one.uid, weight=one.weight, hotkey=hotkeys[one.uid]) for one in results.weights
            ],
        )
        self.lie_with(changed, **dict(results))

    def refusal(self, last: FollowedEpoch | None = None, **changes: Any) -> str:
        with pytest.raises(EpochRefused) as refused:
            check_latest(self.store, self.expected(**changes), last)
        assert len(str(refused.value)) > 20
        return refused.value.cause
