"""Published epochs of miners that commit to what they answer, and a chain on which they are anchored."""

from collections.abc import Sequence
from pathlib import Path

from bench.committing_miner import CommittingMiner
from shared.anchors import Anchor
from shared.canonical import sha256_hex
from shared.chain import Block
from shared.object_store import FolderStore
from shared.records import RequestRecord
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    ExampleAuditor,
    ExampleChain,
    example_verdict,
)
from validator.audit_report import AuditReport
from validator.challenge_selection import record_seed
from validator.database import Database
from validator.epoch_summary import EpochSummary, parse_message, summary_key
from validator.verdicts import AuditedPoint

MINERS = {key.ss58_address: CommittingMiner(key, 3, 64) for key in (HONEST, ALSO_HONEST, CHEAT)}
UNREMARKABLE_DISTANCE = 1e-4


class CommittingAuditor(ExampleAuditor):
    """Judges as it is told to, on challenges that were really drawn and really answered."""

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> AuditReport:
        self.audited.append(record.request_id)
        outcome = self.verdicts.get(record.miner_hotkey, "pass")
        verdict = example_verdict(record, block, outcome)
        exchange = MINERS[record.miner_hotkey].exchange(record, record_seed(record, block))
        points = tuple(
            AuditedPoint(choice=p.choice, position=p.position, layer=p.layer, distance=UNREMARKABLE_DISTANCE)
            for p in exchange.challenge.points
        )
        return AuditReport(verdict.model_copy(update={"points": points}), exchange)


def committed(records: Sequence[RequestRecord]) -> list[RequestRecord]:
    """The records with receipts that commit to something."""
    return [MINERS[one.miner_hotkey].commit(one) for one in records]


def committed_rig(database: Database) -> AuditRig:
    """A rig whose auditor asks miners and whose miners answer."""
    rig = AuditRig(database)
    rig.auditor = CommittingAuditor({CHEAT.ss58_address: "fail"})
    rig.audits._auditor = rig.auditor
    return rig


async def publish_epochs(rig: AuditRig, store: FolderStore, count: int) -> None:
    """Run and publish epochs of eight answers of each miner; the fourth answer of each is `store: false`."""
    for number in range(count):
        records = epoch_traffic(1000 * number, rig.clock())
        hidden = [one.model_copy(update={"store": index % 8 != 3}) for index, one in enumerate(records)]
        await rig.run_epoch(committed(hidden))
        rig.publish_next(store)


def summary_of(store: FolderStore, epoch: int) -> EpochSummary:
    """A published summary."""
    return parse_message(EpochSummary, store.get(summary_key(epoch)), summary_key(epoch))


async def anchor_epoch(chain: ExampleChain, store: FolderStore, epoch: int) -> None:
    """What the auditor does after an epoch is published: commit to it, and set its weights."""
    data = store.get(summary_key(epoch))
    summary = parse_message(EpochSummary, data, summary_key(epoch))
    await chain.set_commitment(Anchor(epoch, summary.records_root, sha256_hex(data)).encode())
    await chain.set_weights({one.uid: one.weight for one in summary.weights})


def store_in(folder: Path) -> FolderStore:
    """The store of a test."""
    return FolderStore(folder / "store")
