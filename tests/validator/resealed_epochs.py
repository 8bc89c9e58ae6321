"""A publisher that rewrites its own epochs: every digest, root and signature is made again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bittensor.sp_core import Keypair

from shared.canonical import canonical_json, sha256_hex
from shared.dataset import FileDigest, Table, day_of, manifest_key
from shared.object_store import FolderStore
from shared.request_facts import RequestFacts
from tests.validator.auditor_examples import AUDITOR
from tests.validator.published_epochs import Published
from validator.epoch_summary import LATEST_KEY, LatestEpoch, seal, summary_key
from validator.manifest import manifest_bytes
from validator.published_rows import ChallengeExchange
from validator.verdicts import Verdict


class Resealed(Published):
    """Tampers with epoch `newest` of a store whose last is `last`; later epochs are built on the result."""

    def __init__(self, store: FolderStore, epoch: int, last: int, publisher: Keypair = AUDITOR) -> None:
        super().__init__(store, 0, epoch, publisher)
        self.last = last

    def replace(self, data: bytes, epoch: int | None = None) -> None:
        self.store.put(summary_key(epoch or self.newest), data)
        for number in range((epoch or self.newest) + 1, self.last + 1):
            after = self.summary(number).model_copy(update={"previous_digest": sha256_hex(data)})
            data = seal(after, self.publisher)
            self.store.put(summary_key(number), data)
        self.point_to(self.last)

    def point_to(self, epoch: int) -> None:
        """Make an epoch the newest."""
        digest = sha256_hex(self.store.get(summary_key(epoch)))
        self.store.put(LATEST_KEY, canonical_json(LatestEpoch(epoch=epoch, digest=digest)))

    def lie_with_bytes(self, table: Table, data: bytes, rows: int, **stated: Any) -> None:
        """Other bytes of one table, named in summary and manifest; `stated`: a count or a root of records."""
        key, summary = self.key(table), self.summary()
        self.store.put(key, data)
        digest = FileDigest(table=table, key=key, sha256=sha256_hex(data), size_bytes=len(data), rows=rows)
        files = tuple(digest if one.key == key else one for one in summary.files)
        told: dict[str, Any] = {"records": summary.records, "records_root": summary.records_root} | stated
        day = day_of(summary.closed_at_ms)
        manifest = manifest_bytes(self.newest, day, files, told["records"], told["records_root"], "test")
        self.store.put(manifest_key(self.newest), manifest)
        self.lie(files=files, manifest_sha256=sha256_hex(manifest), **told)

    def lie_about_requests(self, requests: Sequence[RequestFacts]) -> None:
        """Other records, a root of theirs, and the old results."""
        self.lie_with(replace(self.contents(), requests=requests))

    def lie_about_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Other verdicts, with the scores that follow from them."""
        self.lie_with_evidence(self.requests(), verdicts)

    def lie_about_exchanges(self, exchanges: Sequence[ChallengeExchange]) -> None:
        """Other challenges, or other answers to them."""
        self.lie_with(replace(self.contents(), exchanges=exchanges))

    def changed_verdict(self, request_id: str, **changes: Any) -> list[Verdict]:
        """The verdicts, one of them changed."""
        return [
            one.model_copy(update=changes) if one.request_id == request_id else one for one in self.verdicts()
        ]
