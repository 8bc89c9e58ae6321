"""An auditor that publishes what it found of a gateway's requests, in the test's hands."""

import asyncio
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from shared.canonical import canonical_json, sha256_hex
from shared.dataset import Table, files_of
from shared.object_store import FolderStore
from shared.records import RequestRecord
from tests.validator.audit_rig import AuditRig
from tests.validator.auditor_examples import (
    AUDITOR,
    BLOCK_MS,
    START_MS,
    ExampleChain,
    ExampleClock,
    block_number,
    neuron,
)
from validator.database import Database, sqlite_url
from validator.epoch_reading import read_table
from validator.epoch_state import SealedEpoch
from validator.epoch_summary import LATEST_KEY, EpochSummary, LatestEpoch, parse_message, seal, summary_key


class PublishingRig:
    """An audit validator on a folder; its clock starts just after `now_ms`.

    Args:
        signer: publishes.
    """

    def __init__(self, folder: Path, miners: Sequence[Any], now_ms: int, signer: Any = AUDITOR) -> None:
        self.signer, self.location = signer, folder / "store"
        self.database = Database(sqlite_url(folder / "auditor" / "auditor.sqlite"))
        self.store = FolderStore(self.location)
        neurons = [neuron(signer, 0, None, validator_permit=True, stake_rao=10**12)]
        neurons += [
            neuron(miner, uid, f"127.0.0.1:{9000 + uid}") for uid, miner in enumerate(miners, start=1)
        ]
        height = math.ceil((now_ms - START_MS) / BLOCK_MS)
        self.chain = ExampleChain(neurons, height=height)
        self.audit = AuditRig(
            self.database, self.chain, ExampleClock(block_number(height).timestamp_ms), signer
        )

    @property
    def now_ms(self) -> int:
        return self.audit.clock()

    def fails(self, hotkey: str) -> None:
        """Every audit of this miner fails from now on."""
        self.audit.auditor.verdicts[hotkey] = "fail"

    async def publish(self, records: Sequence[RequestRecord]) -> SealedEpoch:
        """Audit these records in one epoch, and publish it."""
        sealed = await self.audit.run_epoch(records)
        await asyncio.to_thread(self.audit.publish_next, self.store)
        return sealed

    def summary(self, number: int) -> EpochSummary:
        return parse_message(EpochSummary, self.store.get(summary_key(number)), "summary")

    def key(self, table: Table, epoch: int) -> str:
        """Where a table's rows of an epoch lie."""
        [file] = files_of(self.summary(epoch).files, table)
        return file.key

    def rows(self, table: Table, epoch: int) -> list[Any]:
        """The published rows of a table."""
        return read_table(self.store, self.summary(epoch), table)

    def change(self, key: str, change: Callable[[bytes], bytes]) -> None:
        """Replace a published object."""
        self.store.put(key, change(self.store.get(key)))

    def announce(self, number: int, data: bytes) -> None:
        """Put other bytes in a summary's place, and point to them."""
        self.store.put(summary_key(number), data)
        self.store.put(LATEST_KEY, canonical_json(LatestEpoch(epoch=number, digest=sha256_hex(data))))

    def lie(self, number: int, signer: Any = None, **changes: Any) -> None:
        """The publisher, or `signer`, signs a changed summary."""
        by = signer or self.signer
        changed = self.summary(number).model_copy(update={"publisher": by.ss58_address} | changes)
        self.announce(number, seal(changed, by))

    def close(self) -> None:
        self.database.close()
