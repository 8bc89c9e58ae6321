"""The record log: nothing acknowledged is lost, nothing torn is read, and every cursor leads on."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import ConfigError
from shared.record_log import Cursor, RecordReader, RecordWriter, record_line
from shared.records import ChoiceRecord, RequestRecord

HOTKEY = "5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY"
REPOSITORY = Path(__file__).resolve().parents[2]


def record(number: int, text: str = "{}", **fields: Any) -> RequestRecord:
    values: dict[str, Any] = {
        "request_id": f"request-{number:08d}",
        "gateway_hotkey": HOTKEY,
        "miner_uid": 3,
        "miner_hotkey": HOTKEY,
        "path": "/v1/completions",
        "request_body": text,
        "streamed": True,
        "store": True,
        "outcome": "answered",
        "http_status": 200,
        "error": None,
        "started_at_ms": 1,
        "finished_at_ms": 2,
        "ttft_ms": 0.5,
        "duration_ms": 1.25,
        "prompt_tokens": 1,
        "output_tokens": 2,
        "choices": (
            ChoiceRecord(index=0, prompt_token_ids=(1,), output_token_ids=(2, 3), finish_reason="stop"),
        ),
        "receipt": {"version": "receipt/1", "seed": 5},
    }
    return RequestRecord(**(values | fields))


def write(folder: Path, *numbers: int, segment_bytes: int = 64 << 20) -> None:
    writer = RecordWriter(folder, segment_bytes)
    for number in numbers:
        writer.append(record(number))
    writer.close()


def numbers(records: list[RequestRecord]) -> list[int]:
    return [int(item.request_id.removeprefix("request-")) for item in records]


def read_all(folder: Path) -> list[int]:
    return numbers(RecordReader(folder).read(Cursor(), 10_000)[0])


def segment(folder: Path, number: int) -> Path:
    return folder / f"records-{number:08d}.jsonl"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(WORDS, JSON_VALUES, max_size=4),
    WORDS,
    st.floats(0, 1e9),
    st.lists(st.integers(0, (1 << 32) - 1), max_size=5),
)
def test_a_line_says_what_pydantic_would_write(
    receipt: dict[str, Any], text: str, duration_ms: float, token_ids: list[int]
) -> None:
    choice = ChoiceRecord(
        index=0,
        prompt_token_ids=tuple(token_ids),
        output_token_ids=(),
        finish_reason=text,
        beside_text=("tool_calls",),
    )
    one = record(1, text, receipt=receipt, duration_ms=duration_ms, ttft_ms=None, choices=(choice,))
    line = record_line(one)
    assert line.count(b"\n") == 1
    assert RequestRecord.model_validate_json(line) == RequestRecord.model_validate_json(one.model_dump_json())


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    original = record(1, text='{"a": "zeilen\\numbruch — ü 漢 \u2028"}\n')
    writer = RecordWriter(tmp_path)
    writer.append(original)
    assert RecordReader(tmp_path).read(Cursor(), 10)[0] == [original], "readable before any sync"
    writer.close()


def test_a_record_is_found_again_at_the_place_that_was_told(tmp_path: Path) -> None:
    write(tmp_path, *range(5), segment_bytes=1500)
    reader = RecordReader(tmp_path)
    places, cursor = reader.places(Cursor(), 3)
    more, end = reader.places(cursor, 10)
    assert reader.places(end, 10) == ([], end)
    found = [reader.at(place.at) for place in places + more]
    assert found == reader.read(Cursor(), 10)[0]
    assert [place.request_id for place in places + more] == [one.request_id for one in found if one]
    assert len({place.at.segment for place in places + more}) > 1


def test_a_place_names_the_clients_request(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path)
    writer.append(record(2, client_request="request-00000001"))
    (place,), _ = RecordReader(tmp_path).places(Cursor(), 10)
    assert (place.request_id, place.client_request) == ("request-00000002", "request-00000001")
    writer.close()


def test_there_is_no_record_where_none_begins(tmp_path: Path) -> None:
    write(tmp_path, 1)
    reader = RecordReader(tmp_path)
    assert reader.at(Cursor(1, 0)) is not None
    for place in (Cursor(1, 3), Cursor(1, 1 << 40), Cursor(2, 0)):
        assert reader.at(place) is None


def test_a_torn_or_damaged_line_has_no_place(tmp_path: Path) -> None:
    write(tmp_path, 1)
    with segment(tmp_path, 1).open("ab") as file:
        file.write(b'{"request_id": "../../etc"}\nnonsense\n{"request_id":"request-00000002"')
    places, _ = RecordReader(tmp_path).places(Cursor(), 10)
    assert [place.request_id for place in places] == ["request-00000001"]


def test_a_folder_that_does_not_exist_yet_has_no_records(tmp_path: Path) -> None:
    assert RecordReader(tmp_path / "later").read(Cursor(), 10) == ([], Cursor())


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    writer, reader = RecordWriter(tmp_path), RecordReader(tmp_path)
    writer.append(record(1))
    first, cursor = reader.read(Cursor(), 10)
    assert reader.read(cursor, 10) == ([], cursor)
    writer.append(record(2))
    second, _ = reader.read(cursor, 10)
    assert numbers(first + second) == [1, 2]
    writer.close()


def test_each_writer_begins_a_segment_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)
    assert segment(tmp_path, 1).exists()
    assert segment(tmp_path, 2).exists()
    assert read_all(tmp_path) == [1, 2]


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    write(tmp_path, *range(10), segment_bytes=1)
    assert len(list(tmp_path.glob("records-*.jsonl"))) == 10
    assert read_all(tmp_path) == list(range(10))


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.sampled_from(["append", "read", "restart"]), max_size=40),
    limit=st.integers(1, 5),
    segment_bytes=st.sampled_from([1, 1500, 1 << 20]),
)
def test_a_reader_sees_every_record_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], limit: int, segment_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer, reader = RecordWriter(folder, segment_bytes), RecordReader(folder)
    cursor, seen, written = Cursor(), [], 0
    for step in [*steps, *["read"] * len(steps)]:
        if step == "append":
            writer.append(record(written))
            written += 1
        elif step == "restart":
            writer.close()
            writer = RecordWriter(folder, segment_bytes)
        else:
            records, following = reader.read(cursor, limit)
            assert len(records) <= limit
            assert following >= cursor
            seen += numbers(records)
            cursor = following
    writer.close()
    assert seen == list(range(written))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_segment_cut_anywhere_gives_its_whole_records(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    write(folder, 0, 1, 2)
    content = segment(folder, 1).read_bytes()
    kept = data.draw(st.integers(0, len(content)))
    os.truncate(segment(folder, 1), kept)
    whole = content[:kept].count(b"\n")
    records, cursor = RecordReader(folder).read(Cursor(), 10)
    assert numbers(records) == list(range(whole))
    write(folder, 7)
    assert numbers(RecordReader(folder).read(cursor, 10)[0]) == [7]


def test_an_unfinished_last_line_is_left_for_later(tmp_path: Path) -> None:
    line = record(1).model_dump_json().encode() + b"\n"
    segment(tmp_path, 1).write_bytes(line[:40])
    reader = RecordReader(tmp_path)
    records, cursor = reader.read(Cursor(), 10)
    assert records == []
    segment(tmp_path, 1).write_bytes(line)
    assert numbers(reader.read(cursor, 10)[0]) == [1]


def test_a_torn_line_of_an_older_segment_is_skipped_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1)
    with segment(tmp_path, 1).open("ab") as file:
        file.write(b'{"version": "rec')
    write(tmp_path, 2)
    with caplog.at_level(logging.WARNING):
        assert read_all(tmp_path) == [1, 2]
    assert "torn" in caplog.text


@pytest.mark.parametrize(
    "line", [b"\n", b"{}\n", b"\x00\x00\x00\n", b"not json\n", b'{"version":"record/2"}\n']
)
def test_a_damaged_line_is_skipped_with_a_warning(
    tmp_path: Path, line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    good = [record(number).model_dump_json().encode() + b"\n" for number in (1, 2)]
    segment(tmp_path, 1).write_bytes(good[0] + line + good[1])
    with caplog.at_level(logging.WARNING):
        assert read_all(tmp_path) == [1, 2]
    assert f"byte {len(good[0])}" in caplog.text


def test_a_removed_old_segment_does_not_stop_a_reader(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 2)
    _, cursor = RecordReader(tmp_path).read(Cursor(), 1)
    segment(tmp_path, 1).unlink()
    assert numbers(RecordReader(tmp_path).read(cursor, 10)[0]) == [2]


def test_other_files_in_the_folder_are_not_read(tmp_path: Path) -> None:
    write(tmp_path, 1)
    for name in ["records-x.jsonl", "records-00000002.jsonl.gz", "notes.txt"]:
        (tmp_path / name).write_text("{}\n")
    assert read_all(tmp_path) == [1]


def test_records_are_private_to_their_owner(tmp_path: Path) -> None:
    write(tmp_path, 1)
    assert segment(tmp_path, 1).stat().st_mode & 0o077 == 0


def test_a_second_writer_is_refused_in_words(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path)
    with pytest.raises(ConfigError, match="another process writes"):
        RecordWriter(tmp_path)
    writer.close()
    RecordWriter(tmp_path).close()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_syncing_covers_segments_that_are_already_full(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path, segment_bytes=1)
    before = open_files()
    for number in range(20):
        writer.append(record(number))
    writer.sync()
    assert open_files() <= before, "full segments are closed"
    writer.close()


def test_making_room_leaves_nothing_behind(tmp_path: Path) -> None:
    writer = RecordWriter(tmp_path)
    writer.append(record(1))
    writer.check_room()
    writer.append(record(2))
    writer.close()
    assert read_all(tmp_path) == [1, 2]
    assert segment(tmp_path, 1).read_bytes().count(b" " * 100) == 0


def run_writer(folder: Path, script: str) -> "subprocess.Popen[str]":
    """A process that has `writer` and `record(number)` and runs `script`."""
    preamble = f"""
        import os, resource, signal, sys
        from pathlib import Path
        from shared.record_log import RecordWriter
        from tests.shared.test_record_log import record
        writer = RecordWriter(Path({str(folder)!r}))
    """
    code = textwrap.dedent(preamble) + textwrap.dedent(script)
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def test_kill_minus_nine_loses_no_acknowledged_record(tmp_path: Path) -> None:
    script = """
        for number in range(10**9):
            writer.append(record(number, text="x" * 2000))
            print(number, flush=True)
    """
    with run_writer(tmp_path, script) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(200)]
        process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    found = read_all_of_any_length(tmp_path)
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1, "at most the one whose acknowledgement was cut off"
    write(tmp_path, 5)
    assert read_all_of_any_length(tmp_path) == [*found, 5]


def read_all_of_any_length(folder: Path) -> list[int]:
    return numbers(RecordReader(folder).read(Cursor(), 1 << 30)[0])


def test_a_full_disk_is_told_and_leaves_no_torn_record(tmp_path: Path) -> None:
    """A limit on the file's size stands in for the full disk: write() stores a part, then fails."""
    script = """
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        written = 0
        try:
            while True:
                writer.append(record(written, text="x" * 900))
                written += 1
        except OSError:
            print(written, Path(writer._folder, "records-00000001.jsonl").read_bytes()[-1:] == b"\\n")
        try:
            writer.check_room()
        except OSError:
            print("still full")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        writer.check_room()
        writer.append(record(written))
        writer.close()
    """
    with run_writer(tmp_path, script) as process:
        assert process.stdout is not None
        told = process.stdout.read().split()
        assert process.wait() == 0
    written = int(told[0])
    assert told[1:] == ["True", "still", "full"], "the part of a line is taken back at once"
    assert 0 < written < 20
    assert read_all(tmp_path) == list(range(written + 1))
