"""Where the tables of the public dataset lie, and what names them: keys, digests, the manifest of an epoch.

    epochs/latest.json                                        the pointer to the newest summary
    epochs/<n>.json                                           the signed summary: names all files by digest
    epochs/<n>/manifest.json                                  the same files with their columns, for tools
    dataset/<table>/date=<day>/epoch=<n>/part-0.parquet       a table's rows of the epoch

The day is that of the epoch's end, UTC.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from shared.identifiers import Hex32, Message, Whole

Table = Literal[
    "requests", "receipts", "texts", "challenges", "openings", "verdicts", "rounds", "scores", "weights"
]

MAX_FILES = 64
"""Files of one epoch."""

_KEY = re.compile(r"dataset/([a-z]+)/date=(\d{4}-\d{2}-\d{2})/epoch=([1-9]\d{0,9})/part-(\d{1,4})\.parquet")

ObjectKey = Annotated[str, Field(max_length=256)]


class FileDigest(Message):
    """A published file: its table, key in the store, SHA-256, size in bytes and rows."""

    table: Table
    key: ObjectKey
    sha256: Hex32
    size_bytes: Whole
    rows: Whole


class ColumnNote(Message):
    """A column as readers see it: its name, its Arrow type, what it means."""

    name: Annotated[str, Field(max_length=64)]
    type: Annotated[str, Field(max_length=2000)]
    description: Annotated[str, Field(max_length=1000)]


class FileNote(FileDigest):
    """A file with its columns; `schema_version` changes when they do."""

    schema_version: Annotated[str, Field(max_length=64)]
    columns: Annotated[tuple[ColumnNote, ...], Field(max_length=256)]


class Manifest(Message):
    """What an epoch's files are, for whoever reads them without this program."""

    version: Literal["manifest/1"] = "manifest/1"
    epoch: Annotated[int, Field(ge=1, lt=1 << 31)]
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
    code_revision: Annotated[str, Field(max_length=64)]
    """The revision of the program that wrote them, or its version."""
    records: Whole
    records_root: Hex32
    files: Annotated[tuple[FileNote, ...], Field(max_length=MAX_FILES)]


def manifest_key(epoch: int) -> str:
    """Where the manifest of an epoch lies."""
    return f"epochs/{epoch}/manifest.json"


def day_of(unix_ms: int) -> str:
    """The UTC day of a moment, year first."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).date().isoformat()


def table_key(table: Table, day: str, epoch: int) -> str:
    """Where a table's rows of an epoch lie."""
    return f"dataset/{table}/date={day}/epoch={epoch}/part-0.parquet"


def is_table_key(key: str, table: Table, epoch: int) -> bool:
    """Whether a key is one of a table's, of this epoch."""
    found = _KEY.fullmatch(key)
    return found is not None and (found[1], found[3]) == (table, str(epoch))


def files_of(files: Iterable[FileDigest], table: Table) -> list[FileDigest]:
    """The files of one table, in the order of their keys."""
    return sorted((file for file in files if file.table == table), key=lambda file: file.key)
