"""The index of the record log: every record is found, none is invented, and nothing is read twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.receipt_database import open_receipt_database
from gateway.record_index import BATCH_RECORDS, RecordIndex
from shared.database import Database
from shared.record_log import RecordReader, RecordWriter
from shared.records import RequestRecord
from tests.shared.test_record_log import record


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_receipt_database(tmp_path / "state")
    yield opened
    opened.close()


def written(folder: Path, *records: RequestRecord, segment_bytes: int = 64 << 20) -> None:
    writer = RecordWriter(folder, segment_bytes)
    for one in records:
        writer.append(one)
    writer.close()


def follow_all(index: RecordIndex) -> int:
    calls = 1
    while index.follow():
        calls += 1
    return calls


def test_a_record_is_found_as_soon_as_it_is_written(database: Database, tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path / "log")
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    assert index.find("request-00000001") == []
    writer.append(record(1))
    assert index.find("request-00000001") == [record(1)]
    writer.close()


@pytest.mark.parametrize("count", [1, BATCH_RECORDS - 1, BATCH_RECORDS])
def test_there_may_be_more_only_after_a_whole_batch(database: Database, tmp_path: Path, count: int) -> None:
    written(tmp_path / "log", *[record(number) for number in range(count)])
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    assert index.follow() == (count == BATCH_RECORDS)
    assert not index.follow()


def test_all_attempts_at_one_clients_request_are_found_by_the_id_of_any(
    database: Database, tmp_path: Path
) -> None:
    first = record(1, client_request="request-00000001", outcome="failed")
    retry = record(2, client_request="request-00000001")
    other = record(3, client_request="request-00000003")
    written(tmp_path / "log", first, other, retry)
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    for asked in ("request-00000001", "request-00000002"):
        assert index.find(asked) == [first, retry]
    assert index.find("request-00000003") == [other]


def test_an_id_that_was_never_given_finds_nothing(database: Database, tmp_path: Path) -> None:
    written(tmp_path / "log", record(1))
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    for asked in ("request-00000002", "", "%", "request-0000000_", "' OR 1=1 --"):
        assert index.find(asked) == []


def test_after_a_restart_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    written(tmp_path / "log", *map(record, range(3)))
    first = open_receipt_database(tmp_path / "state")
    follow_all(RecordIndex(first, RecordReader(tmp_path / "log")))
    first.close()
    written(tmp_path / "log", record(9))
    again = open_receipt_database(tmp_path / "state")
    index = RecordIndex(again, RecordReader(tmp_path / "log"))
    assert index.is_behind()
    assert index.find("request-00000000") == [record(0)], "known without reading on"
    assert index.is_behind()
    assert index.find("request-00000009") == [record(9)]
    assert not index.is_behind()
    again.close()


def test_a_long_log_is_read_in_small_steps(database: Database, tmp_path: Path) -> None:
    written(tmp_path / "log", *map(record, range(3 * BATCH_RECORDS)), segment_bytes=40_000)
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    assert follow_all(index) == 4
    assert index.find(f"request-{3 * BATCH_RECORDS - 1:08d}")


def test_records_of_a_deleted_segment_are_gone_without_a_complaint(
    database: Database, tmp_path: Path
) -> None:
    written(tmp_path / "log", record(1))
    written(tmp_path / "log", record(2))
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    follow_all(index)
    (tmp_path / "log" / "records-00000001.jsonl").unlink()
    assert index.find("request-00000001") == []
    assert index.find("request-00000002") == [record(2)]


def test_another_log_in_the_same_folder_is_read_from_its_beginning(
    database: Database, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        written(tmp_path / "log", record(number))
    index = RecordIndex(database, RecordReader(tmp_path / "log"))
    follow_all(index)
    for file in (tmp_path / "log").glob("records-*"):
        file.unlink()
    written(tmp_path / "log", record(4))
    assert index.find("request-00000004") == [record(4)]
    assert index.find("request-00000001") == [], "its place now holds another record"


@settings(max_examples=25)
@given(
    groups=st.lists(st.lists(st.integers(0, 400), max_size=5, unique=True), max_size=6),
    segment_bytes=st.integers(1, 5000),
)
def test_whatever_is_written_is_found(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[int]], segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("index")
    database = open_receipt_database(folder)
    index = RecordIndex(database, RecordReader(folder / "log"))
    for numbers in groups:
        written(folder / "log", *map(record, numbers), segment_bytes=segment_bytes)
        for number in numbers:
            assert index.find(f"request-{number:08d}") == [record(number)]
    database.close()
