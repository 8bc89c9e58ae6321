import json
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from shared.record_folders import worker_folder
from shared.record_log import RecordReader, RecordWriter
from shared.records import RequestRecord
from tests.validator.auditor_examples import CHEAT, HONEST, SECRET, START_MS, example_record
from validator.synthetic_observer import MAX_OWN, TrafficObserver
from validator.synthetic_state import STATE_FILE, SyntheticState, load_state, save_state

MOST = 24


def observer(folder: Path, state: SyntheticState | None = None) -> TrafficObserver:
    reader = RecordReader(folder / "records")
    return TrafficObserver(reader, state or load_state(folder / STATE_FILE), MOST, random.Random(1))


def write(folder: Path, *records: RequestRecord) -> None:
    writer = RecordWriter(folder / "records")
    for record in records:
        writer.append(record)
    writer.close()


def asking(text: str, number: int = 1, **fields: Any) -> RequestRecord:
    body = {"messages": [{"role": "user", "content": text}], "request_id": f"request-{number:06d}"}
    return example_record(number, **fields).model_copy(update={"request_body": json.dumps(body)})


def test_answers_and_shapes_of_organic_requests_are_taken_in(tmp_path: Path) -> None:
    write(tmp_path, asking("a", 1), asking("b", 2), asking("c", 3, miner=CHEAT))
    own = observer(tmp_path)
    own.follow()
    assert own.answers_since(HONEST.ss58_address, START_MS) == 2
    assert own.answers_since(CHEAT.ss58_address, START_MS) == 1
    assert own.answers_since("nobody", START_MS) == 0
    assert len(own.reservoir.shapes) == 3


def test_the_logs_of_workers_are_read_each_from_where_it_stopped(tmp_path: Path) -> None:
    for worker, text in ((1, "a"), (2, "b")):
        writer = RecordWriter(worker_folder(tmp_path / "records", worker))
        writer.append(asking(text, worker))
        writer.close()
    write(tmp_path, asking("from before there were workers", 3))
    own = observer(tmp_path)
    own.follow()
    assert own.answers_since(HONEST.ss58_address, START_MS) == 3
    save_state(own.state(), tmp_path / STATE_FILE)
    again = observer(tmp_path)
    again.follow()
    assert again.answers_since(HONEST.ss58_address, START_MS) == 3, "nothing is counted twice"


def test_answers_in_rounds_do_not_count_and_the_auditors_others_do(tmp_path: Path) -> None:
    """Otherwise rounds would be all that miners without clients are asked, and nothing would be usual."""
    own = observer(tmp_path)
    for number, of_round in ((1, True), (2, False)):
        record = asking(f"text {number}", number)
        own.note_own(json.loads(record.request_body), of_round)
        write(tmp_path, record)
    write(tmp_path, asking("a client's", 3))
    own.follow()
    assert own.answers_since(HONEST.ss58_address, START_MS) == 2
    assert len(own.reservoir.shapes) == 1


def test_old_answers_do_not_count(tmp_path: Path) -> None:
    write(
        tmp_path, asking("a", 1, finished_at_ms=START_MS + 100), asking("b", 2, finished_at_ms=START_MS + 900)
    )
    own = observer(tmp_path)
    own.follow()
    assert own.answers_since(HONEST.ss58_address, START_MS + 100) == 1


def test_what_a_miner_did_not_answer_does_not_count_and_teaches_nothing(tmp_path: Path) -> None:
    write(tmp_path, *(asking("a", n, outcome=o) for n, o in enumerate(("failed", "refused", "client_left"))))
    write(tmp_path, asking("a", 9, output_tokens=0))
    own = observer(tmp_path)
    own.follow()
    assert own.answers_since(HONEST.ss58_address, 0) == 0
    assert own.reservoir.shapes == ()


def test_own_requests_count_as_answers_but_are_not_imitated(tmp_path: Path) -> None:
    own = observer(tmp_path)
    own.note_own({"model": "m", "messages": [{"role": "user", "content": "mine"}]})
    write(tmp_path, asking("mine", 1), asking("a client's", 2))
    own.follow()
    assert own.answers_since(HONEST.ss58_address, 0) == 2
    assert [shape.turns[0].chars for shape in own.reservoir.shapes] == [len("a client's")]


def test_the_same_words_from_a_client_later_are_organic(tmp_path: Path) -> None:
    own = observer(tmp_path)
    own.note_own({"messages": [{"role": "user", "content": "hi"}]})
    write(tmp_path, asking("hi", 1), asking("hi", 2))
    own.follow()
    assert len(own.reservoir.shapes) == 1


def test_requests_that_never_reach_the_log_are_not_remembered_for_ever(tmp_path: Path) -> None:
    own = observer(tmp_path)
    for number in range(MAX_OWN + 10):
        own.note_own({"prompt": str(number)})
    assert len(own.state().own) == MAX_OWN


def test_a_restart_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = observer(tmp_path)
    first.note_own({"messages": [{"role": "user", "content": "mine"}]})
    write(tmp_path, asking("a", 1))
    first.follow()
    save_state(first.state(), tmp_path / STATE_FILE)
    write(tmp_path, asking("mine", 2), asking("b", 3))
    second = observer(tmp_path)
    second.follow()
    assert second.answers_since(HONEST.ss58_address, 0) == 3
    assert len(second.reservoir.shapes) == 2, "the request of before the restart is known as its own"


def test_no_text_is_stored_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    write(tmp_path, example_record(1), asking(SECRET, 2))
    own = observer(tmp_path)
    own.note_own({"prompt": SECRET})
    own.follow()
    file = tmp_path / "new" / STATE_FILE
    save_state(own.state(), file)
    assert SECRET not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert load_state(file) == own.state()


def test_counts_of_miners_stay_bounded(tmp_path: Path) -> None:
    write(tmp_path, *(asking("a", number) for number in range(MOST + 20)))
    own = observer(tmp_path)
    own.follow()
    assert own.answers_since(HONEST.ss58_address, 0) == MOST
    own.forget_all_but(frozenset())
    assert own.answers_since(HONEST.ss58_address, 0) == 0


def test_a_first_start_has_a_key_of_its_own(tmp_path: Path) -> None:
    assert load_state(tmp_path / "a").key != load_state(tmp_path / "b").key


def test_a_damaged_state_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / STATE_FILE
    file.write_text("{}")
    with pytest.raises(ConfigError, match="delete it"):
        load_state(file)
