"""Single columns of an epoch's Parquet tables, so that an epoch costs the gateway little.

pyarrow is imported only where tables are read. It works without Python's lock, so serving goes on meanwhile.
Importing it does hold the lock, for a tenth of a second: `load_reader` does that before anybody is served.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.published_summary import EpochRefused, PublishedFile, parse
from gateway.published_verdicts import VERDICT_COLUMNS, PublishedVerdict
from shared.merkle import HASH_BYTES

MAX_COLUMN_BYTES = 1 << 30
"""Of the columns that are read of one file, when unpacked."""

ROWS_AT_ONCE = 256
"""Rows that are made Python's at a time, some 1 ms, between which serving has its turns."""

_OWN_COLUMNS = ["request_id", "known_prefix_tokens", "text_published"]
REQUEST_COLUMNS = (*_OWN_COLUMNS, "gateway_hotkey", "leaf")


def load_reader() -> None:
    """Import what reads tables. Blocks."""
    import pyarrow.compute
    import pyarrow.parquet  # noqa: F401


@dataclass(frozen=True)
class OwnRequest:
    """One request of this gateway in the epoch's records.

    Attributes:
        index: which leaf of the epoch's Merkle tree it is.
    """

    request_id: str
    index: int
    known_prefix_tokens: int | None
    text_published: bool


@dataclass(frozen=True)
class RequestColumns:
    """What is read of the table of requests; `leaves` are the leaf hashes, 32 bytes each, in their order."""

    leaves: bytes
    own: Sequence[OwnRequest]


def read_requests(data: bytes, file: PublishedFile, gateway_hotkey: str, first_index: int) -> RequestColumns:
    """One file of the table.

    Args:
        first_index: how many leaves the files before this one hold.

    Raises:
        EpochRefused: it is not such a file.
    """
    import pyarrow.compute as pc

    table, leaves, own = _columns(data, file, REQUEST_COLUMNS), bytearray(), list[OwnRequest]()
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        begins_at = first_index + len(leaves) // HASH_BYTES
        leaves += _hashes(batch.column("leaf"), file.key)
        mine = pc.equal(batch.column("gateway_hotkey"), gateway_hotkey)
        rows = batch.select(_OWN_COLUMNS).filter(mine).to_pylist()
        for place, row in zip(pc.indices_nonzero(mine).to_pylist(), rows, strict=True):
            own.append(OwnRequest(index=begins_at + place, **row))
    return RequestColumns(bytes(leaves), own)


def read_verdicts(data: bytes, file: PublishedFile) -> Iterator[PublishedVerdict]:
    """The verdicts of one file.

    Raises:
        EpochRefused: it is not such a file.
    """
    table, number = _columns(data, file, VERDICT_COLUMNS), 0
    for batch in table.to_batches(max_chunksize=ROWS_AT_ONCE):
        for row in batch.to_pylist():
            number += 1
            yield parse(PublishedVerdict, orjson.dumps(row), f"{file.key} row {number}")


def _columns(data: bytes, file: PublishedFile, names: Sequence[str]) -> Any:
    """These columns of a file, as an Arrow table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        found = pq.ParquetFile(pa.BufferReader(data))
        if found.metadata.num_rows != file.rows:
            raise EpochRefused(f"{file.key} has {found.metadata.num_rows} rows, {file.rows} are promised")
        if _unpacked_bytes(found.metadata, names) > MAX_COLUMN_BYTES:
            raise EpochRefused(f"{file.key} unpacks into more than {MAX_COLUMN_BYTES} bytes")
        table = found.read(columns=list(names), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise EpochRefused(f"{file.key} is not the Parquet file that it should be: {error}") from None
    missing = {name.split(".")[0] for name in names} - set(table.column_names)
    if missing:
        raise EpochRefused(f"{file.key} has no column {min(missing)}: is this program up to date?")
    return table


def _unpacked_bytes(metadata: Any, names: Sequence[str]) -> int:
    """What the named columns take when they are unpacked, as the file says."""
    groups = (metadata.row_group(number) for number in range(metadata.num_row_groups))
    columns = (group.column(number) for group in groups for number in range(group.num_columns))
    return sum(
        column.total_uncompressed_size
        for column in columns
        if any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in names)
    )


def _hashes(column: Any, name: str) -> bytes:
    """A column of 32-byte hashes in hexadecimal, as bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.type != pa.string() or column.null_count:
        raise EpochRefused(f"{name} has leaves that are no hashes")
    widths = pc.min_max(pc.binary_length(column)).as_py()
    if len(column) and widths != {"min": 2 * HASH_BYTES, "max": 2 * HASH_BYTES}:
        raise EpochRefused(f"{name} has leaves that are no hashes")
    try:
        return bytes.fromhex("".join(column.to_pylist()))
    except ValueError:
        raise EpochRefused(f"{name} has leaves that are no hashes") from None
