"""Following published epochs: what is learned from them, and everything that is not believed."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.epoch_follower import EpochFollower
from gateway.epoch_store import KEPT_EPOCHS, EpochStore
from gateway.published_epochs import MAX_POINTER_BYTES, Findings, PublishedEpochs
from gateway.published_summary import EpochRefused, FoundSummary, Summary
from gateway.published_tables import OwnRequest
from gateway.receipt_database import open_receipt_database
from gateway.standings import AuditStanding, Standings
from shared.canonical import canonical_json, sha256_hex
from shared.database import Database
from shared.dataset import Table, manifest_key
from shared.errors import ChainUnavailable, StoreError
from shared.merkle import path_leads_to_root
from shared.object_store import MAX_OBJECT_BYTES, ObjectReader
from shared.request_facts import RequestRow, facts_of_rows
from tests.gateway.publishing_rig import PublishingRig
from tests.shared.whole_reads import WholeReads
from tests.validator.audit_rig import NETUID
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    AUDITOR,
    CHEAT,
    FOLLOWER,
    GATEWAY,
    HONEST,
    START_MS,
    example_record,
    many_records,
)
from validator.epoch_summary import LATEST_KEY, summary_key
from validator.epoch_tables import FORMATS


class Following:
    """A follower of the rig's store."""

    def __init__(self, rig: PublishingRig, database: Database, publisher: str | None = None) -> None:
        self.rig, self.store, self.standings = rig, EpochStore(database), Standings()
        self.reader: ObjectReader = rig.store
        self.publisher = publisher or AUDITOR.ss58_address
        self.restart()

    def restart(self, netuid: int = NETUID, own: str = GATEWAY.ss58_address) -> None:
        async def publishes(hotkey: str) -> bool:
            return hotkey == self.publisher

        self.standings = Standings()
        published = PublishedEpochs(self.reader, netuid)
        self.follower = EpochFollower(published, self.store, self.standings, own, publishes, 60.0)
        self.follower.restore()

    async def refusal(self) -> str:
        before = self.store.newest()
        with pytest.raises(EpochRefused) as refused:
            await self.follower.look()
        assert self.store.newest() == before, "nothing of it was taken over"
        return str(refused.value)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_receipt_database(tmp_path / "gateway")
    yield opened
    opened.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[PublishingRig]:
    built = PublishingRig(tmp_path, [HONEST, ALSO_HONEST, CHEAT], START_MS + 600_000)
    yield built
    built.close()


@pytest.fixture
def following(rig: PublishingRig, database: Database) -> Following:
    return Following(rig, database)


async def publish(rig: PublishingRig, first: int = 0) -> None:
    at = {"finished_at_ms": rig.now_ms}
    await rig.publish(
        [
            *many_records(HONEST, 1, range(first, first + 30), **at),
            *many_records(CHEAT, 3, range(first + 200, first + 210), **at),
        ]
    )


async def test_before_anything_is_published_nothing_is_known(following: Following) -> None:
    await following.follower.look()
    assert following.store.newest() is None
    assert following.standings.of(HONEST.ss58_address) is None


async def test_an_epoch_tells_which_requests_were_audited_and_what_was_found(
    rig: PublishingRig, following: Following
) -> None:
    rig.fails(CHEAT.ss58_address)
    await publish(rig)
    await following.follower.look()
    audited = {verdict.request_id for verdict in rig.rows("verdicts", 1)}
    listed = {f"request-{number:06d}" for number in [*range(30), *range(200, 210)]}
    found = {one: following.store.find(one) for one in listed}
    assert all(found.values())
    assert {one for one, what in found.items() if what and what.audit} == audited
    assert 0 < len(audited) < len(listed)
    outcomes = {
        (one >= "request-000200", what.audit["outcome"], what.audit["check"])
        for one, what in found.items()
        if what and what.audit
    }
    assert outcomes == {(False, "pass", "all"), (True, "fail", "sketch")}
    known = following.store.newest()
    assert known is not None
    assert (known.number, known.publisher) == (1, AUDITOR.ss58_address)
    assert known.closed_at_ms == rig.summary(1).closed_at_ms


async def test_standings_are_those_of_the_newest_epoch(rig: PublishingRig, following: Following) -> None:
    rig.fails(CHEAT.ss58_address)
    for first in (0, 1000):
        await publish(rig, first)
        await following.follower.look()
    after = {one.hotkey: one for one in rig.summary(2).history_after}
    for miner, rejected in ((HONEST, False), (CHEAT, True)):
        tallies = after[miner.ss58_address].tallies
        passes, fails = sum(one.passes for one in tallies), sum(one.fails for one in tallies)
        stands = following.standings.of(miner.ss58_address)
        assert stands == AuditStanding(passes + fails, passes, rejected, epoch=2)
        assert passes + fails > 0
    assert following.standings.of(ALSO_HONEST.ss58_address) is None, "it served nothing"


async def test_requests_of_other_gateways_are_left_out(rig: PublishingRig, following: Following) -> None:
    other = example_record(1, finished_at_ms=rig.now_ms).model_copy(
        update={"gateway_hotkey": FOLLOWER.ss58_address}
    )
    await rig.publish([other, example_record(2, finished_at_ms=rig.now_ms)])
    await following.follower.look()
    assert following.store.find("request-000001") is None
    assert following.store.find("request-000002") is not None


async def test_after_a_restart_standings_are_known_though_the_store_is_not_reached(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    await following.follower.look()
    stands = following.standings.of(HONEST.ss58_address)
    following.reader = Unreachable()
    following.restart()
    assert following.standings.of(HONEST.ss58_address) == stands is not None
    with pytest.raises(StoreError):
        await following.follower.look()


async def test_processes_that_share_a_state_folder_share_what_one_of_them_reads(
    rig: PublishingRig, following: Following, tmp_path: Path
) -> None:
    shared = open_receipt_database(tmp_path / "gateway")
    other = Following(rig, shared)
    await publish(rig)
    await following.follower.look()
    await other.follower.look()
    stands = other.standings.of(HONEST.ss58_address)
    assert stands == following.standings.of(HONEST.ss58_address) is not None
    found = PublishedEpochs(rig.store, NETUID).summary(1, other.store.newest().digest)  # type: ignore[union-attr]
    other.store.add(found, Findings([], [], [], b""))
    assert following.store.find("request-000000") is not None
    shared.close()


class Switched(WholeReads):
    """A store that becomes another one."""

    def __init__(self, reader: ObjectReader) -> None:
        self.reader = reader

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        return self.reader.get(key, most_bytes)


class Unreachable(WholeReads):
    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        raise StoreError("the service is down")


async def test_epochs_that_were_missed_are_read_in_their_order(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    await following.follower.look()
    for first in (1000, 2000, 3000):
        await publish(rig, first)
    await following.follower.look()
    newest, oldest = following.store.newest(), following.store.oldest()
    assert newest is not None
    assert oldest is not None
    assert (oldest.number, newest.number) == (1, 4)
    for number, first in ((2, 1000), (3, 2000), (4, 3000)):
        found = following.store.find(f"request-{first:06d}")
        assert found is not None
        assert found.epoch.number == number


async def test_an_epoch_is_read_once(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    await following.follower.look()
    asked: list[str] = []

    class Counting(WholeReads):
        def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
            asked.append(key)
            return rig.store.get(key, most_bytes)

    following.reader = Counting()
    following.restart()
    await following.follower.look()
    assert asked == [LATEST_KEY]


def keys_of(rig: PublishingRig) -> dict[str, str]:
    return {
        "requests": rig.key("requests", 1),
        "verdicts": rig.key("verdicts", 1),
        "manifest": manifest_key(1),
        "summary": summary_key(1),
    }


KINDS = ["requests", "verdicts", "manifest", "summary"]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_that_was_changed_is_not_believed(
    rig: PublishingRig, following: Following, kind: str
) -> None:
    await publish(rig)
    rig.change(keys_of(rig)[kind], lambda data: data + b"\n")
    assert "is not the" in await following.refusal()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_that_is_missing_is_named(
    rig: PublishingRig, following: Following, kind: str
) -> None:
    await publish(rig)
    key = keys_of(rig)[kind]
    (rig.location / key).unlink()
    assert key in await following.refusal()


def signed_anew(rig: PublishingRig, table: Table, data: bytes, rows: int) -> None:
    """The publisher replaces a file and signs for it."""
    files = list(rig.summary(1).files)
    place = next(number for number, file in enumerate(files) if file.table == table)
    changes = {"sha256": sha256_hex(data), "size_bytes": len(data), "rows": rows}
    rig.store.put(files[place].key, data)
    files[place] = files[place].model_copy(update=changes)
    rig.lie(1, files=tuple(files))


def dropped(rows: list[RequestRow]) -> list[RequestRow]:
    return rows[1:]


def doubled(rows: list[RequestRow]) -> list[RequestRow]:
    return [*rows, rows[-1].model_copy(update={"request_id": "request-999999"})]


def another_leaf(rows: list[RequestRow]) -> list[RequestRow]:
    return [rows[0].model_copy(update={"leaf": "0" * 64}), *rows[1:]]


@pytest.mark.parametrize("change", [dropped, doubled, another_leaf])
async def test_records_that_do_not_lead_to_the_signed_root_are_not_believed(
    rig: PublishingRig, following: Following, change: Callable[[list[RequestRow]], list[RequestRow]]
) -> None:
    await publish(rig)
    rows = change(rig.rows("requests", 1))
    signed_anew(rig, "requests", FORMATS["requests"].encode(rows), len(rows))
    assert "not those of its root" in await following.refusal()


async def test_a_file_with_other_rows_than_promised_is_not_believed(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    data = rig.store.get(rig.key("requests", 1))
    signed_anew(rig, "requests", data, 1_000_000)
    assert "1000000 are promised" in await following.refusal()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"nonsense" * 100])
async def test_what_is_no_parquet_file_is_not_believed(
    rig: PublishingRig, following: Following, data: bytes
) -> None:
    await publish(rig)
    signed_anew(rig, "verdicts", data, 1)
    assert "is not the Parquet file" in await following.refusal()


async def test_a_table_without_a_needed_column_is_not_believed(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    table = pq.read_table(io.BytesIO(rig.store.get(rig.key("requests", 1)))).drop_columns(["leaf"])
    file = io.BytesIO()
    pq.write_table(table, file)
    signed_anew(rig, "requests", file.getvalue(), table.num_rows)
    assert "has no column leaf" in await following.refusal()


async def test_every_own_request_has_a_proof_that_leads_to_the_signed_root(
    rig: PublishingRig, following: Following
) -> None:
    await rig.publish(many_records(HONEST, 1, range(600), finished_at_ms=rig.now_ms))
    await following.follower.look()
    root = bytes.fromhex(rig.summary(1).records_root)
    receipts = {one.key: one.receipt for one in rig.rows("receipts", 1)}
    rows = rig.rows("requests", 1)
    for row in rows:
        found = following.store.find(row.request_id)
        assert found is not None
        leaf = facts_of_rows(row, receipts[row.key]).leaf()
        assert rows[found.index].request_id == row.request_id
        assert path_leads_to_root(leaf, found.index, 600, found.path, root)
        assert not path_leads_to_root(leaf, (found.index + 1) % 600, 600, found.path, root)


async def test_a_summary_that_nobody_signed_is_not_believed(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    bare = rig.summary(1).model_copy(update={"signature": None})
    rig.announce(1, canonical_json(bare))
    assert "signature" in await following.refusal()


async def test_a_summary_that_was_changed_after_signing_is_not_believed(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    rig.announce(1, rig.store.get(summary_key(1)).replace(b'"passes":', b'"passes":1', 1))
    assert "not signed by" in await following.refusal()


async def test_another_key_may_not_sign_in_the_publishers_name(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    rig.lie(1, FOLLOWER)
    forged = rig.store.get(summary_key(1)).replace(
        f'"publisher":"{FOLLOWER.ss58_address}"'.encode(), f'"publisher":"{AUDITOR.ss58_address}"'.encode()
    )
    rig.announce(1, forged)
    assert "not signed by" in await following.refusal()


async def test_a_publisher_that_may_not_publish_is_not_believed(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    rig.lie(1, FOLLOWER)
    assert "no validator permit" in await following.refusal()


async def test_epochs_of_another_subnet_are_not_believed(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    following.restart(netuid=NETUID + 1)
    assert "check --store and --netuid" in await following.refusal()


async def test_an_older_epoch_is_not_taken_for_the_newest(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    first = rig.store.get(LATEST_KEY)
    await publish(rig, 1000)
    await following.follower.look()
    rig.store.put(LATEST_KEY, first)
    assert "epoch 2 was read before" in await following.refusal()


async def test_an_epoch_that_was_rewritten_is_not_believed(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    await following.follower.look()
    rig.lie(1, closed_at_ms=rig.summary(1).closed_at_ms + 1)
    assert "epoch 1 was read before" in await following.refusal()


async def test_an_epoch_on_another_history_is_not_believed(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    await following.follower.look()
    await publish(rig, 1000)
    rig.lie(2, previous_digest="0" * 64)
    assert "does not descend" in await following.refusal()


async def test_a_new_publisher_begins_anew(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    await following.follower.look()
    rig.lie(1, FOLLOWER)
    following.publisher = FOLLOWER.ss58_address
    await following.follower.look()
    newest = following.store.newest()
    assert newest is not None
    assert newest.publisher == FOLLOWER.ss58_address


async def test_one_history_has_one_publisher(rig: PublishingRig, following: Following) -> None:
    await publish(rig)
    await publish(rig, 1000)
    other = rig.summary(2)
    rig.lie(1, FOLLOWER)
    digest = following.follower._published.pointer()
    assert digest is not None
    rig.announce(2, b"")
    rig.store.put(summary_key(2), canonical_json(other))
    rig.lie(2, previous_digest=digest.digest)
    assert "a later one by" in await following.refusal()


async def test_too_large_a_pointer_is_not_read(rig: PublishingRig, following: Following) -> None:
    rig.store.put(LATEST_KEY, b" " * (MAX_POINTER_BYTES + 1))
    with pytest.raises(StoreError, match="larger than"):
        await following.follower.look()


@given(data=st.binary(max_size=200))
def test_noise_is_never_a_pointer_and_never_a_crash(data: bytes) -> None:
    class Noise(WholeReads):
        def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
            return data

    with pytest.raises(EpochRefused):
        PublishedEpochs(Noise(), NETUID).pointer()


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"epoch":1}', b"null", b'{"epoch":1e999}'])
def test_nonsense_in_the_place_of_a_summary_is_refused(data: bytes) -> None:
    class Nonsense(WholeReads):
        def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
            return data

    with pytest.raises(EpochRefused):
        PublishedEpochs(Nonsense(), NETUID).summary(1, sha256_hex(data))


async def test_what_fails_is_told_and_over_when_it_works_again(
    rig: PublishingRig, following: Following
) -> None:
    await publish(rig)
    source = Switched(Unreachable())
    following.reader = source
    following.restart()
    troubles = []
    for reader in (Unreachable(), rig.store):
        source.reader = reader
        await following.follower.step()
        troubles.append(following.follower.trouble)
    assert troubles == ["the store can't be read", None]
    assert following.store.newest() is not None


async def test_an_unreadable_chain_is_a_trouble_and_no_crash(
    rig: PublishingRig, following: Following
) -> None:
    async def unknown(hotkey: str) -> bool:
        raise ChainUnavailable("the chain can't be reached")

    await publish(rig)
    following.follower._publishes = unknown
    await following.follower.step()
    assert following.follower.trouble == "the chain can't be asked who may publish"
    assert following.store.newest() is None


def test_old_epochs_are_forgotten(database: Database) -> None:
    store = EpochStore(database)

    def summary(number: int) -> FoundSummary:
        fields: dict[str, Any] = {
            "version": "epoch/5", "netuid": NETUID, "epoch": number, "publisher": AUDITOR.ss58_address,
            "opened_at_ms": 0, "closed_at_ms": 1, "previous_digest": None, "files": (), "signature": "",
            "scoring": {"reject_log_evidence": 13.8}, "history_after": (), "model": "tiny", "block": 1,
            "manifest_sha256": "0" * 64, "records": 1, "records_root": "0" * 64, "scores": (), "weights": (),
        }  # fmt: skip
        return FoundSummary("0" * 64, Summary(**fields))

    for number in (1, 2, KEPT_EPOCHS + 1):
        own = OwnRequest(f"request-{number:06d}", 0, None, text_published=False)
        store.add(summary(number), Findings([bytes(32)], [own], [], b"{}"))
    assert store.find("request-000001") is None
    assert store.find("request-000002") is not None
    oldest = store.oldest()
    assert oldest is not None
    assert oldest.number == 2
