import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ConfigError, ObjectExists, ObjectMissing, StoreError
from shared.http_reader import ASKS, MAX_WAIT_S
from shared.object_store import (
    FolderStore,
    HttpReader,
    ObjectStore,
    S3Store,
    check_key,
    open_reader,
    open_store,
)
from tests.shared.object_server import answer, public_folder, serving
from tests.shared.s3_server import BUCKET, s3_server


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    """A real S3-compatible server with one bucket."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, request: pytest.FixtureRequest) -> ObjectStore:
    return open_store(f"s3://{BUCKET}/{request.node.name.replace('[', '-').replace(']', '')}", s3_endpoint)


@pytest.fixture
def folder(tmp_path: Path) -> ObjectStore:
    return open_store(str(tmp_path / "store"))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def test_what_was_put_is_got(store: ObjectStore) -> None:
    store.put("epochs/1.json", b"\x00first")
    assert store.get("epochs/1.json") == b"\x00first"


def test_too_large_an_object_is_refused(store: ObjectStore) -> None:
    store.put("a", b"x" * 1001)
    with pytest.raises(StoreError, match="larger than 1000 bytes"):
        store.get("a", 1000)
    assert len(store.get("a", 1001)) == 1001


def test_a_range_is_the_bytes_that_were_asked_for(store: ObjectStore) -> None:
    store.put("a", bytes(range(100)))
    assert store.get_range("a", 0, 1) == b"\x00"
    assert store.get_range("a", 40, 20) == bytes(range(40, 60))
    assert store.get_range("a", 90, 10) == bytes(range(90, 100))


@pytest.mark.parametrize(("start", "length"), [(0, 101), (90, 11), (100, 1), (5000, 10)])
def test_a_range_that_the_object_does_not_have_is_refused(
    store: ObjectStore, start: int, length: int
) -> None:
    store.put("a", bytes(100))
    with pytest.raises(StoreError, match="ends before"):
        store.get_range("a", start, length)


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, 0), (0, -1)])
def test_what_is_no_range_is_refused(store: ObjectStore, start: int, length: int) -> None:
    store.put("a", bytes(100))
    with pytest.raises(ValueError, match="not a range"):
        store.get_range("a", start, length)


def test_the_size_of_an_object_is_told(store: ObjectStore) -> None:
    store.put("a", bytes(1234))
    store.put("empty", b"")
    assert store.size("a") == 1234
    assert store.size("empty") == 0


def test_a_missing_object_has_neither_size_nor_ranges(store: ObjectStore) -> None:
    store.put("folder/a", b"")
    for key in ("nothing", "folder", "folder/a/b"):
        with pytest.raises(ObjectMissing, match="there is no object"):
            store.size(key)
    with pytest.raises(ObjectMissing, match="there is no object"):
        store.get_range("nothing", 0, 1)


def test_put_replaces(store: ObjectStore) -> None:
    store.put("latest", b"one")
    store.put("latest", b"two")
    assert store.get("latest") == b"two"


def test_create_never_replaces(store: ObjectStore) -> None:
    store.create("epochs/1.json", b"one")
    with pytest.raises(ObjectExists):
        store.create("epochs/1.json", b"two")
    assert store.get("epochs/1.json") == b"one"


def test_of_many_creators_exactly_one_wins(folder: ObjectStore) -> None:
    won: list[int] = []

    def create(number: int) -> None:
        try:
            folder.create("epochs/1.json", str(number).encode())
            won.append(number)
        except ObjectExists:
            pass

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folder.get("epochs/1.json") == str(won[0]).encode()
    assert len(won) == 1
    assert folder.keys("") == ["epochs/1.json"]


def test_a_missing_object_is_named(store: ObjectStore) -> None:
    with pytest.raises(ObjectMissing, match=r"epochs/7\.json"):
        store.get("epochs/7.json")


def test_an_object_below_an_object_is_missing(store: ObjectStore) -> None:
    store.put("epochs", b"")
    with pytest.raises(ObjectMissing):
        store.get("epochs/1.json")


def test_keys_are_listed_by_prefix_and_sorted(store: ObjectStore) -> None:
    for key in ("epochs/2.json", "epochs/10.json", "epochs/1/requests.jsonl", "other"):
        store.put(key, b"x")
    assert store.keys("epochs/1") == ["epochs/1/requests.jsonl", "epochs/10.json"]
    assert store.keys("") == ["epochs/1/requests.jsonl", "epochs/10.json", "epochs/2.json", "other"]
    assert store.keys("nothing") == []


def test_an_empty_object_is_an_object(store: ObjectStore) -> None:
    store.create("empty", b"")
    assert store.get("empty") == b""


BAD_KEYS = ["", "/", "/a", "a/", "a//b", "../a", "a/../b", ".", "a/./b", "a b", "a\n", "ä", "a\\b", "a\x00"]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_keys_that_leave_the_store_are_refused(store: ObjectStore, key: str) -> None:
    for attempt in (lambda: store.get(key), lambda: store.put(key, b""), lambda: store.create(key, b"")):
        with pytest.raises(StoreError, match="not an object key"):
            attempt()


@given(st.text(max_size=30))
def test_no_accepted_key_leaves_its_folder(key: str) -> None:
    try:
        check_key(key)
    except StoreError:
        return
    root = Path("/store")
    assert root in Path(os.path.normpath(root / key)).parents


def test_a_crash_while_writing_leaves_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path)

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    for write in (store.put, store.create):
        with pytest.raises(KeyboardInterrupt):
            write("epochs/1.json", b"half")
    assert store.keys("") == []
    with pytest.raises(ObjectMissing):
        store.get("epochs/1.json")


def test_a_folder_that_is_a_file_fails_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(StoreError, match="can't be written"):
        store.put("a", b"")


def test_two_prefixes_of_a_bucket_are_two_stores(s3_endpoint: str) -> None:
    one, other = (open_store(f"s3://{BUCKET}/{name}/", s3_endpoint) for name in ("one", "other"))
    one.put("a", b"1")
    assert other.keys("") == []
    with pytest.raises(ObjectMissing):
        other.get("a")
    assert open_store(f"s3://{BUCKET}", s3_endpoint).get("one/a") == b"1"


def test_a_missing_bucket_is_a_failure_and_not_a_missing_object(s3_endpoint: str) -> None:
    store = open_store("s3://no-such-bucket", s3_endpoint)
    with pytest.raises(StoreError) as failure:
        store.get("a")
    assert not isinstance(failure.value, ObjectMissing)
    with pytest.raises(StoreError) as failure:
        store.size("a")
    assert not isinstance(failure.value, ObjectMissing)
    with pytest.raises(StoreError):
        store.keys("")
    with pytest.raises(StoreError):
        store.put("a", b"")


def test_an_unreachable_service_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _: None)
    store = S3Store(BUCKET, "", "http://127.0.0.1:1", "auto")
    with pytest.raises(StoreError, match="reading a in bucket"):
        store.get("a")


def test_without_credentials_it_fails_in_words(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(StoreError, match="Unable to locate credentials"):
        open_store(f"s3://{BUCKET}", s3_endpoint).put("a", b"")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def public(tmp_path: Path) -> Iterator[tuple[FolderStore, str]]:
    """A folder, and the URL at which everybody may read it."""

    def handler(*arguments: Any) -> _Quiet:
        return _Quiet(*arguments, directory=str(tmp_path))

    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield FolderStore(tmp_path), f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_published_objects_are_read_over_http(public: tuple[FolderStore, str]) -> None:
    store, url = public
    store.put("epochs/1.json", b"\x00one")
    assert open_reader(url + "/").get("epochs/1.json") == b"\x00one"
    assert open_reader(url + "/epochs").get("1.json") == b"\x00one"


def test_a_missing_object_is_missing_over_http(public: tuple[FolderStore, str]) -> None:
    with pytest.raises(ObjectMissing):
        HttpReader(public[1]).get("epochs/1.json")


def test_too_large_an_object_is_refused_over_http(public: tuple[FolderStore, str]) -> None:
    store, url = public
    store.put("a", b"x" * 1001)
    with pytest.raises(StoreError, match="larger than 1000 bytes"):
        HttpReader(url).get("a", 1000)
    assert len(HttpReader(url).get("a", 1001)) == 1001


def test_an_object_whose_bytes_come_too_slowly_is_given_up(public: tuple[FolderStore, str]) -> None:
    store, url = public
    store.put("a", b"x" * 100)
    assert HttpReader(url, clock=iter([0.0, 599.0]).__next__).get("a") == b"x" * 100
    with pytest.raises(StoreError, match="took longer than 600 s"):
        HttpReader(url, clock=iter([0.0, 601.0]).__next__).get("a")


def test_ranges_and_sizes_are_read_over_http(tmp_path: Path) -> None:
    FolderStore(tmp_path).put("epochs/a", bytes(range(100)))
    with serving(public_folder(tmp_path)) as url:
        reader = HttpReader(url)
        assert reader.size("epochs/a") == 100
        assert reader.get_range("epochs/a", 40, 20) == bytes(range(40, 60))
        for start, length in ((90, 11), (100, 1)):
            with pytest.raises(StoreError, match="ends before"):
                reader.get_range("epochs/a", start, length)
        for ask in (lambda: reader.size("b"), lambda: reader.get_range("b", 0, 1)):
            with pytest.raises(ObjectMissing):
                ask()


def test_a_server_that_knows_no_ranges_is_read_as_far_as_needed(public: tuple[FolderStore, str]) -> None:
    store, url = public
    store.put("a", bytes(range(256)) * 4096)
    reader = HttpReader(url)
    assert reader.get_range("a", 700_001, 3) == bytes([(700_001 + more) % 256 for more in range(3)])
    with pytest.raises(StoreError, match="ends before"):
        reader.get_range("a", 1 << 20, 1)


@pytest.mark.parametrize("told", ["bytes 0-9/100", "bytes 11-20/100", "pages 10-19/100", ""])
def test_another_range_than_was_asked_for_is_refused(told: str) -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        answer(request, 206, b"x" * 10, Content_Range=told)

    with serving(respond) as url, pytest.raises(StoreError, match="another range"):
        HttpReader(url).get_range("a", 10, 10)


def test_a_size_that_is_not_told_is_not_made_up() -> None:
    def respond(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()

    with serving(respond) as url, pytest.raises(StoreError, match="does not say how large"):
        HttpReader(url).size("a")


def test_sizes_and_ranges_are_asked_of_the_object_and_not_of_a_compressed_copy(tmp_path: Path) -> None:
    asked: list[str | None] = []
    serve = public_folder(tmp_path)

    def respond(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers.get("Accept-Encoding"))
        serve(request)

    FolderStore(tmp_path).put("a", b"abc")
    with serving(respond) as url:
        HttpReader(url).size("a")
        HttpReader(url).get_range("a", 0, 1)
    assert asked == ["identity", "identity"]


def test_a_range_whose_bytes_come_too_slowly_is_given_up(tmp_path: Path) -> None:
    FolderStore(tmp_path).put("a", b"x" * 100)
    with serving(public_folder(tmp_path)) as url, pytest.raises(StoreError, match="took longer than 600 s"):
        HttpReader(url, clock=iter([0.0, 601.0]).__next__).get_range("a", 0, 10)


def test_a_service_that_ignores_ranges_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with serving(lambda request: answer(request, 200, b"x" * 100)) as url:
        store = open_store(f"s3://{BUCKET}", url, "us-east-1")
        with pytest.raises(StoreError, match="ignores ranges"):
            store.get_range("a", 0, 10)


def test_an_unreachable_url_fails_in_words() -> None:
    reader = HttpReader("http://127.0.0.1:1")
    for ask in (lambda: reader.get("a"), lambda: reader.get_range("a", 0, 1), lambda: reader.size("a")):
        with pytest.raises(StoreError, match="reading a at"):
            ask()


def test_keys_are_checked_over_http_too(public: tuple[FolderStore, str]) -> None:
    reader = HttpReader(public[1])
    for ask in (
        lambda: reader.get("../a"),
        lambda: reader.get_range("../a", 0, 1),
        lambda: reader.size("../a"),
    ):
        with pytest.raises(StoreError, match="not an object key"):
            ask()


@pytest.mark.parametrize(("endpoint", "region"), [("host:9000", "auto"), ("https://host", "eu west")])
def test_an_endpoint_or_region_that_is_none_is_refused(endpoint: str, region: str) -> None:
    with pytest.raises(ConfigError, match="can't be opened"):
        open_store("s3://bucket", endpoint, region)


def test_without_boto3_a_bucket_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ConfigError, match="needs boto3"):
        open_reader("s3://bucket")


def test_failures_bear_the_services_own_name(s3_endpoint: str) -> None:
    store = open_store("s3://no-such-bucket", s3_endpoint)
    for attempt in (lambda: store.put("a", b""), lambda: store.keys("")):
        with pytest.raises(StoreError) as failure:
            attempt()
        assert failure.value.code == "NoSuchBucket"


def test_a_web_page_in_the_place_of_a_listing_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    page = b"<html><p>hello"
    with serving(lambda request: answer(request, 405, page)) as url, pytest.raises(StoreError) as failure:
        open_store(f"s3://{BUCKET}", url, "us-east-1").keys("")
    assert failure.value.code == "405"


def test_probes_can_be_removed_and_leave_no_folders(tmp_path: Path, s3: Any) -> None:
    folder = FolderStore(tmp_path)
    for store in (folder, s3):
        store.put("checks/1/a", b"a")
        store.put("checks/1/b", b"b")
        store.delete("checks/1/a")
        assert store.keys("") == ["checks/1/b"]
        store.delete("checks/1/b")
        assert store.keys("") == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="can't be removed"):
        folder.delete("checks/1/a")


@pytest.mark.parametrize("location", ["ftp://host/a", "gs://bucket", "http://host"])
def test_what_is_no_store_is_refused(location: str) -> None:
    with pytest.raises(ConfigError, match="is not a store"):
        open_store(location)


def test_a_reader_may_be_a_folder(tmp_path: Path) -> None:
    FolderStore(tmp_path).put("a", b"1")
    assert open_reader(str(tmp_path)).get("a") == b"1"
    assert open_reader(f"file://{tmp_path}").get("a") == b"1"


class Busy:
    """A server that has too much to do at first."""

    def __init__(self, times: int, status: int, retry_after: str | None) -> None:
        self.times, self.status, self.retry_after, self.asked = times, status, retry_after, 0

    def __call__(self, request: Any) -> None:
        self.asked += 1
        if self.asked <= self.times:
            headers = {} if self.retry_after is None else {"Retry_After": self.retry_after}
            answer(request, self.status, b"later", **headers)
        else:
            answer(request, 200, b"data")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("told", "waited_s"), [("2", 2.0), (None, 1.0), ("soon", 1.0), ("-5", 1.0), ("999999", MAX_WAIT_S)]
)
def test_a_busy_server_is_asked_again_when_it_says(status: int, told: str | None, waited_s: float) -> None:
    busy, pauses = Busy(2, status, told), list[float]()
    with serving(busy) as url:
        assert HttpReader(url, pause=pauses.append).get("epochs/1.json") == b"data"
    assert pauses == [waited_s] * 2


def test_a_server_that_stays_busy_fails_in_words() -> None:
    busy, pauses = Busy(99, 503, "1"), list[float]()
    with serving(busy) as url, pytest.raises(StoreError, match="503"):
        HttpReader(url, pause=pauses.append).get("epochs/1.json")
    assert (busy.asked, len(pauses)) == (ASKS, ASKS - 1)
