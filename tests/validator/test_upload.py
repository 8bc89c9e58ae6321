import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.errors import ConfigError, StoreError
from shared.object_store import FolderStore
from tests.validator.audit_rig import AuditRig, epoch_traffic, spool_folder
from validator.database import Database
from validator.epoch_summary import LATEST_KEY, summary_key
from validator.spool import Spool
from validator.upload import UploadConfig, run, upload_waiting

PROJECT = Path(__file__).resolve().parents[2]


class FailingStore(FolderStore):
    """A service that is away until it is back."""

    away = True

    def create(self, key: str, data: bytes) -> None:
        if self.away:
            raise StoreError("the service is away")
        super().create(key, data)


async def spooled(database: Database, epochs: int = 2) -> Spool:
    rig = AuditRig(database)
    for number in range(epochs):
        await rig.run_epoch(epoch_traffic(1000 * number, rig.clock()))
    return rig.spool


def turns(count: int) -> Callable[[float], bool]:
    """A wait that takes no time and says that it is time to stop after so many."""
    left = iter([False] * count + [True] * 10)
    return lambda seconds: next(left)


async def test_all_that_waits_is_uploaded_oldest_first(database: Database, tmp_path: Path) -> None:
    spool, store = await spooled(database), FolderStore(tmp_path / "store")
    assert upload_waiting(spool_folder(database), store)
    assert store.get(LATEST_KEY).count(b'"epoch":1') == 1
    assert upload_waiting(spool_folder(database), store)
    assert store.get(summary_key(2)) == spool.files(2).get(summary_key(2))
    assert not upload_waiting(spool_folder(database), store)
    assert (spool.waiting(), spool.published()) == ([], [1, 2])


async def test_a_store_that_is_away_is_told_and_tried_again(database: Database, tmp_path: Path) -> None:
    spool, store = await spooled(database), FailingStore(tmp_path / "store")
    assert not upload_waiting(spool_folder(database), store)
    assert spool.trouble() == "epoch 1 can't be published: the service is away; it is tried again"
    assert (store.keys(""), spool.waiting()) == ([], [1, 2])
    store.away = False
    assert upload_waiting(spool_folder(database), store)
    assert (spool.trouble(), spool.waiting()) == ("", [2])


async def test_a_damaged_summary_is_told_and_not_published(database: Database, tmp_path: Path) -> None:
    spool, store = await spooled(database, epochs=1), FolderStore(tmp_path / "store")
    spool.seal(1, b"{")
    assert not upload_waiting(spool_folder(database), store)
    assert "epoch 1 can't be published: epochs/1.json is not what it should be" in spool.trouble()
    assert store.keys("") == []


async def test_it_runs_until_it_is_told_to_stop(database: Database, tmp_path: Path) -> None:
    spool = await spooled(database)
    config = UploadConfig(spool=spool_folder(database), store=str(tmp_path / "store"))
    run(config, turns(1))
    assert spool.published() == [1], "it stops between two epochs"
    run(config, turns(5))
    assert spool.published() == [1, 2]


def test_without_spool_or_store_it_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="--spool FOLDER"):
        run(UploadConfig(), turns(1))


async def test_the_process_uploads_and_ends_when_its_input_closes(database: Database, tmp_path: Path) -> None:
    spool = await spooled(database)
    uploader = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "validator.upload", "--spool", str(spool_folder(database))),
        *("--store", str(tmp_path / "store"), "--look-seconds", "0.05"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=PROJECT,
    )
    assert uploader.stdin is not None
    assert uploader.stderr is not None
    async with asyncio.timeout(60):
        async for line in uploader.stderr:
            if b"epoch 2 is in the store" in line:
                uploader.stdin.close()
        assert await uploader.wait() == 0
    assert spool.published() == [1, 2]
