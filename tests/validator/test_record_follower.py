import subprocess
import sys
from pathlib import Path

import pytest

from shared.record_log import RecordReader, RecordWriter
from tests.validator.auditor_examples import HONEST, START_MS, example_record, many_records
from validator.database import Database, sqlite_url
from validator.epoch_state import EpochState
from validator.record_follower import BATCH_RECORDS, RecordFollower
from validator.request_state import RequestState


@pytest.fixture
def state(database: Database) -> RequestState:
    EpochState(database).open_next(0, 1)
    return RequestState(database)


def write(folder: Path, numbers: range) -> None:
    writer = RecordWriter(folder)
    for record in many_records(HONEST, 1, numbers):
        writer.append(record)
    writer.close()


def test_everything_is_read_in_batches_and_nothing_twice(tmp_path: Path, state: RequestState) -> None:
    write(tmp_path / "log", range(BATCH_RECORDS + 50))
    follower = RecordFollower(RecordReader(tmp_path / "log"), "log", state)
    assert [follower.follow() for _ in range(3)] == [BATCH_RECORDS, 50, 0]
    assert len(state.facts(1)) == BATCH_RECORDS + 50
    assert follower.newest_record_at_ms == START_MS + 1000


def test_a_log_that_does_not_exist_yet_is_waited_for(tmp_path: Path, state: RequestState) -> None:
    follower = RecordFollower(RecordReader(tmp_path / "log"), "log", state)
    assert follower.follow() == 0
    write(tmp_path / "log", range(3))
    assert follower.follow() == 3


def test_a_restarted_gateway_is_followed_into_its_next_segment(tmp_path: Path, state: RequestState) -> None:
    follower = RecordFollower(RecordReader(tmp_path / "log"), "log", state)
    write(tmp_path / "log", range(3))
    assert follower.follow() == 3
    write(tmp_path / "log", range(3, 5))
    assert follower.follow() == 2
    assert len(state.facts(1)) == 5


def test_a_torn_line_is_left_for_later(tmp_path: Path, state: RequestState) -> None:
    write(tmp_path / "log", range(2))
    segment = next((tmp_path / "log").glob("records-*.jsonl"))
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-10])
    follower = RecordFollower(RecordReader(tmp_path / "log"), "log", state)
    assert follower.follow() == 1
    segment.write_bytes(whole)
    assert follower.follow() == 1
    assert [facts.request_id for facts in state.facts(1)] == [
        example_record(number).request_id for number in range(2)
    ]


@pytest.mark.parametrize("batches", [1, 3])
def test_kill_9_while_reading_neither_loses_nor_doubles(tmp_path: Path, batches: int) -> None:
    count = 8 * BATCH_RECORDS
    write(tmp_path / "log", range(count))
    url = sqlite_url(tmp_path / "killed.sqlite")
    database = Database(url)
    EpochState(database).open_next(0, 1)
    script = Path(__file__).with_name("reading_auditor.py")
    command = [sys.executable, str(script), str(tmp_path / "log"), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as reading:
        assert reading.stdout is not None
        for _ in range(batches):
            assert reading.stdout.readline() == "batch\n"
        reading.kill()
    state = RequestState(database)
    assert len(state.facts(1)) >= batches * BATCH_RECORDS
    follower = RecordFollower(RecordReader(tmp_path / "log"), "log", state)
    while follower.follow():
        pass
    assert [facts.request_id for facts in state.facts(1)] == [
        example_record(number).request_id for number in range(count)
    ]
    database.close()
