"""One epoch of the tiny model, audited by the real auditor, and what repeats its audits."""

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from torch import Tensor

from shared.canonical import sha256_hex
from shared.chain import Block
from shared.challenges import OpenRequest, ReplayRequest
from shared.records import RequestRecord
from tests.models import TINY_MODEL
from tests.validator.audit_rig import AuditRig
from tests.validator.auditor_examples import ALSO_HONEST, CHEAT, HONEST, ExampleAuditor, ExampleChain
from tests.validator.committed_epochs import anchor_epoch, store_in
from tests.validator.example_audit import no_doubt
from tests.validator.example_calibration import tiny_calibration
from tests.validator.example_miner import DistortedMiner, ExampleMiner
from tests.validator.example_model import answer_checks, chat_body, reference
from tests.validator.replayed import Replayed
from tests.validator.resealed_epochs import Resealed
from validator.audit import Auditor
from validator.audit_report import AuditReport
from validator.database import Database, sqlite_url
from validator.miner_client import OpenOutcome, ReplayOutcome, Unreachable
from validator.reaudits import Reaudits
from validator.reference_worker import ReferenceWorker

ANSWERS_EACH = 6
OUTPUT_TOKENS = 12
SILENT_REQUEST = f"request-{ANSWERS_EACH:06d}"
"""Of the second miner, which does not answer the challenge of its first answer."""

HIDDEN_REQUEST = f"request-{1:06d}"
"""Of `store: false`."""

CALIBRATION_SHA256 = sha256_hex(b"the tiny model's calibration file")


class InProcess:
    """Asks miners of this process."""

    def __init__(self, miners: dict[str, ExampleMiner]) -> None:
        self._miners = miners

    async def open(self, challenge: OpenRequest, axon: str, hotkey: str) -> OpenOutcome:
        if challenge.request_id == SILENT_REQUEST:
            return Unreachable("it is gone")
        return self._miners[hotkey].open(challenge)

    async def replay(self, challenge: ReplayRequest, axon: str, hotkey: str) -> ReplayOutcome:
        return self._miners[hotkey].replay(challenge)


class ModelAuditor(ExampleAuditor):
    """The real auditor of the tiny model."""

    def __init__(self, miners: dict[str, ExampleMiner]) -> None:
        super().__init__()
        self.worker = ReferenceWorker(reference)
        client = InProcess(miners)
        self._auditor = Auditor(
            client, self.worker, answer_checks(), tiny_calibration(), TINY_MODEL, lambda: 1, no_doubt
        )

    async def audit(self, record: RequestRecord, axon: str, block: Block) -> AuditReport:
        return await self._auditor.audit(record, axon, block)


def noisy(hidden: Tensor, layer: int) -> Tensor:
    """What a cheat's weights make of hidden states."""
    noise = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(layer))
    return hidden + 0.2 * hidden.std() * noise


@lru_cache(maxsize=1)
def _original() -> Path:
    folder = Path(mkdtemp(prefix="model-epoch-"))

    async def publish() -> None:
        miners = {
            HONEST.ss58_address: ExampleMiner(tiny_calibration(), signer=HONEST),
            ALSO_HONEST.ss58_address: ExampleMiner(tiny_calibration(), signer=ALSO_HONEST),
            CHEAT.ss58_address: DistortedMiner(noisy, tiny_calibration()),
        }
        miners[CHEAT.ss58_address].signer = CHEAT
        database = Database(sqlite_url(folder / "audit.sqlite"))
        rig, store, auditor = AuditRig(database), store_in(folder), ModelAuditor(miners)
        rig.audits._auditor = auditor
        await rig.run_epoch(_records(list(miners.values())))
        rig.publish_next(store)
        publisher = Resealed(store, 1, 1)
        publisher.lie(model=TINY_MODEL, calibration_sha256=CALIBRATION_SHA256)
        await anchor_epoch(rig.chain, store, 1)
        auditor.worker.close()
        database.close()

    asyncio.run(publish())
    return folder / "store"


def _records(miners: Sequence[ExampleMiner]) -> list[RequestRecord]:
    records = []
    for place, miner in enumerate(miners):
        for number in range(ANSWERS_EACH):
            body = chat_body(place * ANSWERS_EACH + number, max_tokens=OUTPUT_TOKENS)
            record = miner.answer(body)
            about = {"miner_uid": place + 1, "store": record.request_id != HIDDEN_REQUEST}
            records.append(record.model_copy(update=about))
    return records


def model_epoch(folder: Path) -> Replayed:
    """A fresh copy of the epoch, without a chain."""
    shutil.copytree(_original(), folder / "store")
    return Replayed(folder, ExampleChain())


@contextmanager
def tiny_reaudits(count: int = 100, seed: int = 0, sha256: str = CALIBRATION_SHA256) -> Iterator[Reaudits]:
    """What repeats audits with the tiny model."""
    reaudits = Reaudits(ReferenceWorker(reference), answer_checks(), tiny_calibration(), sha256, count, seed)
    yield reaudits
    reaudits.close()
