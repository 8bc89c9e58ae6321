from pathlib import Path

import pytest

from shared.canonical import canonical_json
from shared.errors import ConfigError, MalformedMessage, SignatureMismatch, StoreError
from shared.object_store import FolderStore
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import AUDITOR, FOLLOWER, SECRET
from tests.validator.published_epochs import Published
from validator.database import Database, sqlite_url
from validator.epoch_state import EpochState
from validator.epoch_summary import LATEST_KEY, LatestEpoch, parse_message, summary_key
from validator.epoch_tables import FORMATS
from validator.leases import LeaseBook, LeaseLost
from validator.publishing import last_published, publish


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


class CrashingStore(FolderStore):
    """Dies before the n-th write."""

    def __init__(self, folder: Path, writes: int) -> None:
        super().__init__(folder)
        self._left = writes

    def _write_partial(self, key: str, data: bytes) -> tuple[Path, Path]:
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return super()._write_partial(key, data)


async def test_an_epoch_is_published_with_all_its_tables(database: Database, store: FolderStore) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    rig.publish_next(store)
    assert store.keys("epochs/") == ["epochs/1.json", "epochs/1/manifest.json", "epochs/latest.json"]
    tables = {file.table: file.key for file in sealed.summary().files}
    assert store.keys("dataset/") == sorted(tables.values())
    assert tables["verdicts"] == "dataset/verdicts/date=2023-11-14/epoch=1/part-0.parquet"
    assert store.get(summary_key(1)) == sealed.data
    pointer = parse_message(LatestEpoch, store.get(LATEST_KEY), "latest")
    assert (pointer.epoch, pointer.digest) == (1, sealed.digest)
    assert len(rig.requests.facts(1)) == 24
    await rig.run_epoch(epoch_traffic(1000, rig.clock()))
    rig.publish_next(store)
    assert rig.requests.facts(1) == [], "only the newest published epoch is kept"


@pytest.mark.parametrize("writes", range(1 + len(FORMATS) + 2))
async def test_a_crash_at_any_write_is_made_good_by_publishing_again(
    database: Database, tmp_path: Path, writes: int
) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    with pytest.raises(KeyboardInterrupt):
        rig.publish_next(CrashingStore(tmp_path / "store", writes))
    store = FolderStore(tmp_path / "store")
    assert LATEST_KEY not in store.keys("")
    AuditRig(database, rig.chain, rig.clock).publish_next(store)
    assert store.get(summary_key(1)) == sealed.data
    assert rig.epochs.oldest_unpublished() is None


async def test_publishing_over_another_epoch_is_refused(database: Database, store: FolderStore) -> None:
    rig = AuditRig(database)
    await rig.run_epoch(epoch_traffic(0, rig.clock()))
    store.create(summary_key(1), b"another auditor's")
    with pytest.raises(StoreError, match="another auditor publishes in this store"):
        rig.publish_next(store)
    assert store.get(summary_key(1)) == b"another auditor's"
    assert rig.epochs.oldest_unpublished() is not None


async def test_files_that_changed_after_sealing_are_not_published(
    database: Database, store: FolderStore
) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    damaged = sealed.summary().files[0].key
    rig.spool.files(1).put(damaged, b"something else")
    with pytest.raises(StoreError, match="no longer what the signed summary says"):
        publish(store, 1, rig.spool.files(1))
    assert not {damaged, summary_key(1), LATEST_KEY} & set(store.keys(""))


async def test_words_are_published_unless_a_client_did_not_want_it(
    database: Database, store: FolderStore
) -> None:
    rig = AuditRig(database)
    records = epoch_traffic(0, rig.clock())
    private = [one.model_copy(update={"store": False}) for one in records[:8]]
    await rig.run_epoch([*private, *records[8:]])
    rig.publish_next(store)
    found = Published(store, rig.clock(), newest=1)
    texts = {one.key for one in found.table("texts")}
    assert texts == {(one.request_id, one.miner_hotkey) for one in records[8:]}
    assert {one.key for one in found.requests() if one.text_published} == texts
    assert all(SECRET in one.request_body for one in found.table("texts"))


async def test_where_nobody_wants_its_words_published_none_are(
    database: Database, store: FolderStore
) -> None:
    rig = AuditRig(database)
    records = [one.model_copy(update={"store": False}) for one in epoch_traffic(0, rig.clock())]
    await rig.run_epoch(records)
    rig.publish_next(store)
    found = Published(store, rig.clock(), newest=1)
    published = [str(row) for table in FORMATS for row in found.table(table)]
    assert published
    assert not any(SECRET in row for row in published)


async def test_a_new_installation_goes_on_after_what_is_published(
    database: Database, store: FolderStore, tmp_path: Path
) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    rig.publish_next(store)
    found = last_published(store, AUDITOR.ss58_address)
    assert found == (1, sealed.data)
    empty = Database(sqlite_url(tmp_path / "new.sqlite"))
    EpochState(empty).adopt(*found, now_ms=0)
    second = await AuditRig(empty, rig.chain, rig.clock).run_epoch(epoch_traffic(1000, rig.clock()))
    assert second.number == 2
    assert second.summary().previous_digest == sealed.digest
    assert second.summary().history == sealed.summary().history_after
    empty.close()


def test_an_empty_store_has_no_last_epoch(store: FolderStore) -> None:
    assert last_published(store, AUDITOR.ss58_address) is None


async def test_another_publishers_store_is_not_continued(database: Database, store: FolderStore) -> None:
    rig = AuditRig(database)
    await rig.run_epoch([])
    rig.publish_next(store)
    with pytest.raises(ConfigError, match="name another folder or prefix"):
        last_published(store, FOLLOWER.ss58_address)


async def test_a_damaged_store_is_not_continued(database: Database, store: FolderStore) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch([])
    rig.publish_next(store)
    store.put(summary_key(1), canonical_json(sealed.summary().model_copy(update={"audits_outstanding": 7})))
    with pytest.raises(SignatureMismatch):
        last_published(store, AUDITOR.ss58_address)
    store.put(LATEST_KEY, b"{")
    with pytest.raises(MalformedMessage, match=r"epochs/latest\.json"):
        last_published(store, AUDITOR.ss58_address)


async def test_the_pointer_does_not_go_back_to_an_epoch_that_is_published_late(
    database: Database, store: FolderStore
) -> None:
    rig = AuditRig(database)
    for number in range(2):
        await rig.run_epoch(epoch_traffic(1000 * number, rig.clock()))
    for number in (1, 2, 1):
        publish(store, number, rig.spool.files(number))
    assert parse_message(LatestEpoch, store.get(LATEST_KEY), "latest").epoch == 2


async def test_what_one_auditor_sealed_another_publishes_from_the_database(
    database: Database, store: FolderStore
) -> None:
    first = AuditRig(database, shared=True)
    sealed = await first.run_epoch(epoch_traffic(0, first.clock()))
    assert first.spool.numbers() == [], "nothing of it is in the sealer's folder"
    assert first.requests.texts(1) == [], "so that it could not be made again"
    other = AuditRig(database, first.chain, first.clock, shared=True)
    other.publish_next(store)
    assert store.get(summary_key(1)) == sealed.data
    assert {file.key for file in sealed.summary().files} <= set(store.keys("dataset/"))
    assert other.epochs.sealed_files(1) == {}, "it is in the store now"
    assert other.epochs.is_published(1)


async def test_a_damaged_copy_of_a_shared_epoch_is_replaced_before_it_is_published(
    database: Database, store: FolderStore
) -> None:
    rig = AuditRig(database, shared=True)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    rig.spool.write(1, {file.key: b"of an earlier attempt" for file in sealed.summary().files})
    rig.publish_next(store)
    assert store.get(summary_key(1)) == sealed.data


async def test_an_auditor_that_leads_again_drops_what_others_have_published(
    database: Database, store: FolderStore
) -> None:
    rig = AuditRig(database, shared=True)
    await rig.run_epoch(epoch_traffic(0, rig.clock()))
    rig.publication.step()
    assert rig.spool.waiting() == [1]
    rig.epochs.mark_published(1)
    rig.publication._tidy()
    assert rig.spool.numbers() == []


async def test_a_leader_that_lost_its_lease_seals_nothing(database: Database) -> None:
    book = LeaseBook(database)
    lease = book.take("leader", "first", 60_000)
    assert lease is not None
    rig = AuditRig(database.guarded(lease.check), shared=True)
    assert book.take("leader", "first", 60_000) is not None, "started again elsewhere"
    with pytest.raises(LeaseLost):
        await rig.run_epoch(epoch_traffic(0, rig.clock()))
    state = EpochState(database)
    assert (state.sealed(), state.sealed_files(1)) == (None, {})
