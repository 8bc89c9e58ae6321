"""The store's objects over the gateway: bytes, ranges, conditions, caching, and keys that are none."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import dataset_files
from gateway.byte_ranges import ByteRange, byte_range
from gateway.dataset_objects import DatasetObjects
from gateway.dataset_store import DatasetStore
from shared.errors import StoreError
from shared.object_store import MAX_OBJECT_BYTES, FolderStore, HttpReader, open_store
from tests.gateway.published_gateway import audited_gateway, follow, get, publish_epochs
from tests.gateway.publishing_rig import PublishingRig
from tests.gateway.running_gateway import CHAT, RunningGateway, keypair
from tests.gateway.test_receipts import post
from tests.shared.s3_server import BUCKET
from tests.shared.test_object_store import s3_endpoint  # noqa: F401
from tests.validator.auditor_examples import many_records
from validator.epoch_reading import read_inputs
from validator.epoch_summary import LATEST_KEY, summary_key

FILES = "/v1/dataset/files/"


@pytest.fixture
async def published(tmp_path: Path) -> AsyncIterator[tuple[RunningGateway, PublishingRig]]:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 2)
        yield gateway, rig


Published = tuple[RunningGateway, PublishingRig]


async def test_every_published_object_is_served_as_it_lies_there(published: Published) -> None:
    gateway, rig = published
    keys = rig.store.keys("")
    assert len(keys) == 1 + 2 * 11
    for key in keys:
        answer = await get(gateway, FILES + key)
        data = rig.store.get(key)
        assert (answer.status_code, answer.content) == (200, data), key
        assert answer.headers["etag"] == f'"{hashlib.sha256(data).hexdigest()}"'
        assert answer.headers["content-length"] == str(len(data))
        assert answer.headers["accept-ranges"] == "bytes"
        kind = "application/vnd.apache.parquet" if key.endswith(".parquet") else "application/json"
        assert answer.headers["content-type"] == kind
        assert ("immutable" in answer.headers["cache-control"]) == (key != LATEST_KEY)


async def test_a_head_tells_all_but_the_bytes(published: Published) -> None:
    gateway, rig = published
    key = rig.key("requests", 1)
    whole, head = await get(gateway, FILES + key), await get(gateway, FILES + key, "HEAD", range="bytes=0-3")
    assert (head.status_code, head.content) == (200, b"")
    for name in ("etag", "content-length", "content-type", "cache-control", "accept-ranges"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [("bytes=0-3", 0, 4), ("bytes=4-", 4, None), ("bytes=-8", -8, None), ("bytes=10-99999999", 10, None)],
)
async def test_a_range_is_those_bytes(published: Published, asked: str, start: int, end: int | None) -> None:
    gateway, rig = published
    key = rig.key("requests", 1)
    data = rig.store.get(key)
    answer = await get(gateway, FILES + key, range=asked)
    assert (answer.status_code, answer.content) == (206, data[start:end])
    first = start % len(data)
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.content) - 1}/{len(data)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
async def test_a_range_beyond_the_end_is_416(published: Published, asked: str) -> None:
    gateway, rig = published
    key = rig.key("requests", 1)
    answer = await get(gateway, FILES + key, range=asked)
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(rig.store.get(key))}"
    assert answer.json()["error"]["code"] == "range_not_satisfiable"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=-", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", ""])
async def test_a_range_that_is_none_or_several_gets_the_whole_object(
    published: Published, asked: str
) -> None:
    gateway, rig = published
    key = rig.key("requests", 1)
    answer = await get(gateway, FILES + key, range=asked)
    assert (answer.status_code, answer.content) == (200, rig.store.get(key))


@given(size=st.integers(0, 60), first=st.integers(0, 70), last=st.integers(0, 70))
def test_ranges_are_what_slices_are(size: int, first: int, last: int) -> None:
    data = bytes(range(size))
    found = byte_range(f"bytes={first}-{last}", size)
    if last < first:
        assert found == ByteRange(0, size, size, whole=True)
    elif first >= size:
        assert found is None
    else:
        assert found is not None
        assert data[found.start : found.start + found.length] == data[first : last + 1]


@given(header=st.text(max_size=40), size=st.integers(0, 1 << 40))
def test_no_header_brings_a_range_outside_of_the_object(header: str, size: int) -> None:
    for asked in (header, f"bytes={header}"):
        found = byte_range(asked, size)
        assert found is None or 0 <= found.start <= found.start + found.length <= size


async def test_what_the_client_has_is_not_sent_again(published: Published) -> None:
    gateway, rig = published
    for key in (LATEST_KEY, summary_key(1), rig.key("verdicts", 2)):
        tag = (await get(gateway, FILES + key)).headers["etag"]
        for named in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = await get(gateway, FILES + key, if_none_match=named)
            assert (answer.status_code, answer.content) == (304, b"")
        assert (await get(gateway, FILES + key, if_none_match='"other"')).status_code == 200


async def test_a_range_of_another_version_gets_the_whole_object(published: Published) -> None:
    gateway, rig = published
    key = rig.key("requests", 1)
    tag = (await get(gateway, FILES + key)).headers["etag"]
    assert (await get(gateway, FILES + key, range="bytes=0-3", if_range=tag)).status_code == 206
    assert (await get(gateway, FILES + key, range="bytes=0-3", if_range='"other"')).status_code == 200


HOSTILE = [
    *("epochs", "epochs/", "epochs/3.json", "epochs/0.json", "epochs/01.json", "epochs/9999999999.json"),
    *("epochs/1.json/", "epochs/1/manifest.json.partial", "epochs/../secret", "..%2f..%2fetc/passwd"),
    *(
        "%2e%2e/%2e%2e/secret",
        "/etc/passwd",
        "secret",
        "other/1.json",
        "dataset/requests",
        "epochs/1.json%00",
    ),
    "dataset/requests/date=2023-11-14/epoch=3/part-0.parquet",
    "dataset/requests/date=2023-11-14/epoch=1/part-7.parquet",
    "dataset/secrets/date=2023-11-14/epoch=1/part-0.parquet",
    "dataset/requests/date=../epoch=1/part-0.parquet",
    "epochs/" + "1" * 300 + ".json",
    "epochs/1.json%0d%0aset-cookie:x",
]


@pytest.mark.parametrize("key", HOSTILE)
async def test_a_key_that_no_object_has_is_404(published: Published, key: str) -> None:
    gateway, rig = published
    (rig.location / "secret").write_text("mine")
    (rig.location.parent / "secret").write_text("mine")
    answer = await get(gateway, FILES + key)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] in ("object_not_found", "not_found")
    assert "mine" not in answer.text


async def test_an_older_epoch_than_was_read_is_served_too(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        with gateway.parts.provenance._database.writing() as connection:
            connection.exec_driver_sql("DELETE FROM epochs")
        for key in rig.store.keys(""):
            assert (await get(gateway, FILES + key)).content == rig.store.get(key)


class Counting(FolderStore):
    """Notes what is read, and how much at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[tuple[str, int]] = []
        self.broken = False

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        self.asked.append((key, most_bytes))
        return super().get(key, most_bytes)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self.asked.append((key, length))
        if self.broken and start:
            raise StoreError("the service is down")
        return super().get_range(key, start, length)


def counting(gateway: RunningGateway, rig: PublishingRig) -> Counting:
    """Have the gateway read objects through a store that counts."""
    dataset = gateway.parts.provenance.dataset
    assert dataset is not None
    store = Counting(rig.location)
    database = gateway.parts.provenance._database
    dataset.files._objects = DatasetObjects(store, DatasetStore(database), gateway.clock)
    return store


async def test_a_large_object_is_read_in_pieces(published: Published, monkeypatch: Any) -> None:
    gateway, rig = published
    monkeypatch.setattr(dataset_files, "PIECE_BYTES", 1000)
    store, key = counting(gateway, rig), rig.key("requests", 1)
    answer = await get(gateway, FILES + key)
    assert answer.content == rig.store.get(key)
    pieces = [length for name, length in store.asked if name == key]
    assert len(pieces) == -(-len(answer.content) // 1000)
    assert max(pieces) == 1000


async def test_a_store_that_fails_amid_a_download_cuts_it(published: Published, monkeypatch: Any) -> None:
    gateway, rig = published
    monkeypatch.setattr(dataset_files, "PIECE_BYTES", 1000)
    store = counting(gateway, rig)
    store.broken = True
    with pytest.raises(httpx.RemoteProtocolError):
        await get(gateway, FILES + rig.key("requests", 1))
    assert (await post(gateway, CHAT)).status_code == 200


async def test_a_store_that_can_not_be_read_is_503_in_words(published: Published) -> None:
    gateway, rig = published
    store = counting(gateway, rig)
    key = rig.key("requests", 1)
    (rig.location / key).unlink()
    assert (await get(gateway, FILES + key)).status_code == 404
    rig.store.put(LATEST_KEY, b"nonsense")
    gateway.clock.advance(10)
    answer = await get(gateway, FILES + summary_key(1))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "dataset_unavailable")
    assert str(rig.location) not in answer.text
    assert store.asked


async def test_a_strangers_keys_do_not_reach_the_store(published: Published) -> None:
    gateway, rig = published
    store = counting(gateway, rig)
    for key in HOSTILE:
        await get(gateway, FILES + key)
    assert {name for name, _ in store.asked} <= {LATEST_KEY}
    assert len(store.asked) <= 1


async def test_the_pointer_is_asked_for_seldom(published: Published) -> None:
    gateway, rig = published
    store = counting(gateway, rig)
    for _ in range(20):
        await get(gateway, FILES + LATEST_KEY)
    assert len(store.asked) == 1
    gateway.clock.advance(3)
    await get(gateway, FILES + LATEST_KEY)
    assert len(store.asked) == 2


async def test_only_so_many_downloads_of_an_address_go_on_at_once(
    published: Published, monkeypatch: Any
) -> None:
    gateway, rig = published
    monkeypatch.setattr(dataset_files, "MOST_DOWNLOADS_OF_ADDRESS", 1)
    monkeypatch.setattr(dataset_files, "PIECE_BYTES", 1000)
    reached, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    class Waiting(Counting):
        def get_range(self, key: str, start: int, length: int) -> bytes:
            if start:
                loop.call_soon_threadsafe(reached.set)
                go_on.wait(30)
            return super().get_range(key, start, length)

    dataset = gateway.parts.provenance.dataset
    assert dataset is not None
    store = DatasetStore(gateway.parts.provenance._database)
    dataset.files._objects = DatasetObjects(Waiting(rig.location), store, gateway.clock)
    key = rig.key("requests", 1)
    first = asyncio.create_task(get(gateway, FILES + key))
    await reached.wait()
    second = await get(gateway, FILES + key)
    go_on.set()
    assert (await first).content == rig.store.get(key)
    assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
    assert second.headers["retry-after"] == "1"
    assert (await get(gateway, FILES + key)).status_code == 200


async def test_with_a_public_url_readers_are_sent_to_the_bucket(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path, store_public_url="https://epochs.example.org/cst/") as (
        gateway,
        rig,
    ):
        await publish_epochs(gateway, rig, 1)
        for key in (LATEST_KEY, rig.key("requests", 1)):
            answer = await get(gateway, FILES + key)
            assert (answer.status_code, answer.headers["location"]) == (
                307,
                f"https://epochs.example.org/cst/{key}",
            )
        assert (await get(gateway, FILES + "epochs/7.json")).status_code == 404
        tables = (await get(gateway, "/v1/dataset/")).json()["tables"]
    assert all(one["newest_file"].startswith("https://epochs.example.org/cst/dataset/") for one in tables)


async def test_a_follower_reads_epochs_from_the_gateway_as_from_the_store(published: Published) -> None:
    gateway, rig = published
    reader = HttpReader(gateway.url + FILES)
    found = await asyncio.to_thread(read_inputs, reader, rig.summary(1), None)
    assert found == read_inputs(rig.store, rig.summary(1), None)


async def test_a_buckets_objects_are_served_whole_and_in_ranges(
    tmp_path: Path,
    s3_endpoint: str,  # noqa: F811
) -> None:
    location = f"s3://{BUCKET}/served"
    settings = {"store": location, "store_endpoint": s3_endpoint, "store_region": "us-east-1"}
    async with audited_gateway(tmp_path, **settings) as (gateway, rig):
        bucket = open_store(location, s3_endpoint, "us-east-1")
        await rig.publish(many_records(keypair("miner0"), 1, range(12), finished_at_ms=rig.now_ms))
        for key in rig.store.keys(""):
            await asyncio.to_thread(bucket.create, key, rig.store.get(key))
        await follow(gateway)
        for key in rig.store.keys(""):
            data = rig.store.get(key)
            assert (await get(gateway, FILES + key)).content == data
            assert (await get(gateway, FILES + key, range="bytes=5-9")).content == data[5:10]
        assert (await get(gateway, FILES + "epochs/2.json")).status_code == 404
