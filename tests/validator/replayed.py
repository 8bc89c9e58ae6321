"""Three published epochs, built once, of which each test tampers with a copy and replays it."""

import asyncio
import shutil
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from shared.object_store import FolderStore
from tests.validator.audit_rig import NETUID
from tests.validator.auditor_examples import AUDITOR, ExampleChain
from tests.validator.committed_epochs import anchor_epoch, committed_rig, publish_epochs, store_in
from tests.validator.resealed_epochs import Resealed
from validator.database import Database, sqlite_url
from validator.known_calibration import KnownCalibration
from validator.replay_downloads import Downloads
from validator.replay_report import CheckName, ReplayReport
from validator.replay_run import Replay

EPOCHS = 3


@lru_cache(maxsize=1)
def _original() -> tuple[Path, ExampleChain]:
    folder = Path(mkdtemp(prefix="replayed-"))

    async def publish() -> ExampleChain:
        database = Database(sqlite_url(folder / "audit.sqlite"))
        rig, store = committed_rig(database), store_in(folder)
        await publish_epochs(rig, store, EPOCHS)
        await anchor_epoch(rig.chain, store, EPOCHS)
        database.close()
        return rig.chain

    return folder / "store", asyncio.run(publish())


@dataclass
class Replayed:
    """A copy of the epochs, and the chain that they are anchored on."""

    folder: Path
    chain: ExampleChain

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.folder / "store")

    def resealed(self, epoch: int = EPOCHS) -> Resealed:
        """The publisher at work on one epoch."""
        return Resealed(self.store, epoch, EPOCHS)

    def replay(self, which: str = "all", chained: bool = True, **changes: Any) -> ReplayReport:
        """What a stranger finds; `changes` are of `Replay`."""
        values: dict[str, Any] = {
            "source": "the test's folder",
            "downloads": Downloads(self.store, self.folder / "kept", lambda words: None),
            "publisher": AUDITOR.ss58_address,
            "netuid": NETUID,
            "calibration": None,
            "chain": self.chain if chained else None,
            "reaudits": None,
            "say": lambda words: None,
        }
        return Replay(**(values | changes)).run(which)

    def faults(self, which: str = "all", **changes: Any) -> list[tuple[CheckName, str]]:
        """The checks that do not hold, and why."""
        report = self.replay(which, **changes)
        return [(one.name, one.words) for one in report.results if one.state == "fails"]

    def failing(self, which: str = "all", **changes: Any) -> set[CheckName]:
        """The names of the checks that do not hold."""
        return {name for name, _ in self.faults(which, **changes)}


def replayed(folder: Path) -> Replayed:
    """A fresh copy of the epochs below `folder`."""
    store, chain = _original()
    shutil.copytree(store, folder / "store")
    own = replace(
        chain,
        registered=list(chain.registered),
        on_chain=deepcopy(chain.on_chain),
        committed=dict(chain.committed),
    )
    return Replayed(folder, own)


def calibration_of(replayed_epochs: Replayed, noise: Any) -> KnownCalibration:
    """A calibration that the epochs say they were audited with."""
    return KnownCalibration(replayed_epochs.resealed().summary().calibration_sha256, noise)
