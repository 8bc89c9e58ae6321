"""The log in which a gateway records every attempt, and from which auditors read: segments of JSON lines.

A record counts as written when `write()` has returned: a killed process loses none, and a machine that
loses power loses what was not yet synced. Segments are only ever appended to; a writer never continues a
segment of an earlier process, so a torn line can only be the last of its segment.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.folder_lock import lock_folder
from shared.identifiers import RequestId
from shared.record_folders import worker_folders
from shared.records import RequestRecord

log = logging.getLogger(__name__)

PROBE_BYTES = 64 << 10
"""How much room `check_room` asks for: several records of ordinary size."""

_SEGMENT = re.compile(r"^records-(\d{8,})\.jsonl$")


@dataclass(frozen=True, order=True)
class Cursor:
    """A place in the log: segment number and byte offset. The default is the beginning."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True)
class RecordPlace:
    """Where in the log the record of an attempt begins; `client_request` as in the record."""

    request_id: str
    client_request: str | None
    at: Cursor


class _Ids(BaseModel):
    """The fields of a record that an index needs."""

    model_config = ConfigDict(strict=True, extra="ignore")

    request_id: RequestId
    client_request: RequestId | None = None


Found = TypeVar("Found")
Parsed = TypeVar("Parsed", bound=BaseModel)


def _segment_file(folder: Path, number: int) -> Path:
    return folder / f"records-{number:08d}.jsonl"


def _segments(folder: Path) -> list[int]:
    """Numbers of the segments that exist, ascending."""
    if not folder.is_dir():
        return []
    found = (_SEGMENT.match(file.name) for file in folder.iterdir())
    return sorted(int(match[1]) for match in found if match)


def record_line(record: RequestRecord) -> bytes:
    """The line of a record: the JSON that pydantic would write, in a quarter of its time."""
    return orjson.dumps(vars(record), default=vars) + b"\n"


class RecordWriter:
    """The one writer of a folder. Not for use by several threads, but for `sync`, which may run in another.

    Raises:
        ConfigError: another process writes to the folder.
        OSError: the folder can't be made or written.
    """

    def __init__(self, folder: Path, segment_bytes: int = 64 << 20) -> None:
        self._folder, self._segment_bytes = folder, segment_bytes
        folder.mkdir(parents=True, exist_ok=True)
        self._lock_fd = lock_folder(
            folder, f"another process writes to {folder}; stop it, or give this one another --state-dir"
        )
        self._syncing = threading.Lock()
        self._full_fds: list[int] = []
        self._number = max(_segments(folder), default=0)
        self._fd, self._size, self._torn = -1, 0, False
        self._start_segment()

    def _start_segment(self) -> None:
        number = self._number + 1
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(_segment_file(self._folder, number), flags, 0o600)
        if self._fd >= 0:
            self._full_fds.append(self._fd)
        self._fd, self._number, self._size, self._torn = fd, number, 0, False

    def append(self, record: RequestRecord) -> None:
        """Write one record; it survives the process from here on, and the machine from the next sync on.

        Raises:
            OSError: the disk is full or broken; nothing of the record is read later.
        """
        self._write(record_line(record))

    def _write(self, line: bytes) -> None:
        if self._torn or self._size >= self._segment_bytes:
            self._start_segment()
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, memoryview(line)[written:])
        except OSError:
            self._take_back(written)
            raise
        self._size += len(line)

    def _take_back(self, written: int) -> None:
        """Cut off what was written of a line; a segment that can't be cut is left, and a new one begun."""
        if not written:
            return
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            log.warning("a torn line stays in segment %d of %s: %s", self._number, self._folder, error)
            self._torn = True

    def check_room(self) -> None:
        """Write some bytes and take them back, to see whether a full disk has room again.

        Raises:
            OSError: it has not.
        """
        self._write(b" " * PROBE_BYTES)
        self._size -= PROBE_BYTES
        self._take_back(PROBE_BYTES)

    def sync(self) -> None:
        """Force to disk what was written before the call; blocks for some milliseconds.

        Raises:
            OSError: the disk reports an error.
        """
        with self._syncing:
            while self._full_fds:
                fd = self._full_fds.pop(0)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            os.fsync(self._fd)
            _sync_folder(self._folder)

    def close(self) -> None:
        """Sync and let go of the folder.

        Raises:
            OSError: the disk reports an error; the folder is let go of all the same.
        """
        try:
            self.sync()
        finally:
            os.close(self._fd)
            os.close(self._lock_fd)


def _sync_folder(folder: Path) -> None:
    """A new file's name is on disk only when its folder has been synced."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class RecordReader:
    """Reads the log while it is being written; the folder need not exist yet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def workers(self) -> dict[str, "RecordReader"]:
        """Readers of the logs of a gateway's workers, which lie inside; each by a name that stays."""
        return {folder.name: RecordReader(folder) for folder in worker_folders(self._folder)}

    def read(self, cursor: Cursor, limit: int) -> tuple[list[RequestRecord], Cursor]:
        """Up to `limit` records after `cursor`, and the cursor behind them.

        An unfinished last line of the newest segment is left for a later call; in an older segment, whose
        writer is gone, it is skipped with a warning, as is a line that is no record.
        """
        return self._read(cursor, limit, self._record)

    def places(self, cursor: Cursor, limit: int) -> tuple[list[RecordPlace], Cursor]:
        """Where up to `limit` records after `cursor` are, and the cursor behind them; like `read`, but holds
        one record at a time in memory."""
        return self._read(cursor, limit, self._place)

    def lines(self, cursor: Cursor, limit: int, most_bytes: int) -> tuple[list[bytes], Cursor]:
        """Up to `limit` whole lines after `cursor`, at most `most_bytes` of them but at least one,
        and the cursor behind them."""
        left = most_bytes

        def take(line: bytes, at: Cursor) -> list[bytes]:
            nonlocal left
            left -= len(line)
            return [line]

        return self._read(cursor, limit, take, lambda line: left < most_bytes and len(line) > left)

    def at(self, place: Cursor) -> RequestRecord | None:
        """The record that begins at `place`; None when there is none, or no longer."""
        line, _ = next(self._lines(place), (b"", place))
        return next(iter(self._record(line, place)), None) if line.endswith(b"\n") else None

    def oldest_segment(self) -> int | None:
        """The number of the oldest segment that is kept; None when there is none."""
        return next(iter(_segments(self._folder)), None)

    def newest_segment(self) -> int | None:
        """The number of the newest segment; None when there is none."""
        return next(reversed(_segments(self._folder)), None)

    def _read(
        self,
        cursor: Cursor,
        limit: int,
        take: Callable[[bytes, Cursor], list[Found]],
        is_too_much: Callable[[bytes], bool] = lambda line: False,
    ) -> tuple[list[Found], Cursor]:
        records: list[Found] = []
        numbers = [number for number in _segments(self._folder) if number >= cursor.segment]
        for number in numbers:
            cursor = cursor if number == cursor.segment else Cursor(number)
            for line, end in self._lines(cursor):
                if len(records) == limit or is_too_much(line):
                    return records, cursor
                if not line.endswith(b"\n"):
                    self._torn(number, newest=number == numbers[-1])
                    break
                records += take(line, cursor)
                cursor = end
        return records, cursor

    def _lines(self, start: Cursor) -> Iterator[tuple[bytes, Cursor]]:
        """Lines from `start` on, each with the cursor behind it."""
        offset = start.offset
        with suppress(FileNotFoundError), _segment_file(self._folder, start.segment).open("rb") as file:
            file.seek(offset)
            for line in file:
                offset += len(line)
                yield line, Cursor(start.segment, offset)

    def _torn(self, number: int, newest: bool) -> None:
        if not newest:
            log.warning("segment %d of %s ends in a torn line, which is skipped", number, self._folder)

    def _record(self, line: bytes, at: Cursor) -> list[RequestRecord]:
        """The record of a line; none when it is damaged."""
        return self._parsed(RequestRecord, line, at)

    def _place(self, line: bytes, at: Cursor) -> list[RecordPlace]:
        return [RecordPlace(one.request_id, one.client_request, at) for one in self._parsed(_Ids, line, at)]

    def _parsed(self, kind: type[Parsed], line: bytes, at: Cursor) -> list[Parsed]:
        return parsed_line(kind, line, at, str(self._folder))


def parsed_line(kind: type[Parsed], line: bytes, at: Cursor, log_name: str) -> list[Parsed]:
    """What a line of a log says; nothing, and a warning, when it is damaged."""
    try:
        return [kind.model_validate_json(line)]
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        log.warning(
            "segment %d of %s has no record at byte %d, the line is skipped: %s",
            at.segment,
            log_name,
            at.offset,
            first["msg"],
        )
        return []
