"""Messages as rows of a Parquet file (zstd), and back, strictly: a file holds what its messages admit."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from shared.arrow_schema import arrow_schema, wide_integers
from shared.errors import MalformedMessage
from shared.identifiers import Message

Row = TypeVar("Row", bound=Message)

ROW_GROUP_ROWS = 4096
"""Rows of one group: what a reader fetches at least for one column, and what this one holds at a time."""

ZSTD_LEVEL = 9
MAX_GROUP_BYTES = 256 << 20
"""Of one group of rows when unpacked: a small file that unpacks into more memory is refused."""

SCHEMA_KEY = b"constantinople.schema"


class TableFormat(Generic[Row]):
    """One table's files: a column for each field of `kind`, rows in the order of `key`.

    Args:
        schema: name and version of the schema, kept in each file; another version is refused.
        descriptions: words for each column.
    """

    def __init__(
        self,
        kind: type[Row],
        schema: str,
        key: Callable[[Row], Any],
        descriptions: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.schema, self._key = kind, schema, key
        self.arrow = arrow_schema(kind, descriptions).with_metadata({SCHEMA_KEY: schema.encode()})
        self._wide = wide_integers(kind)

    def encode(self, rows: Sequence[Row]) -> bytes:
        """The file with these rows, sorted. The same rows give the same bytes with the same pyarrow."""
        ordered = sorted(rows, key=self._key)
        file = io.BytesIO()
        options = {"compression": "zstd", "compression_level": ZSTD_LEVEL, "write_page_index": True}
        with pq.ParquetWriter(file, self.arrow, **options) as writer:
            for first in range(0, len(ordered), ROW_GROUP_ROWS):
                group = [self._plain(row) for row in ordered[first : first + ROW_GROUP_ROWS]]
                writer.write_table(pa.Table.from_pylist(group, self.arrow))
        return file.getvalue()

    def _plain(self, row: Row) -> dict[str, Any]:
        plain = row.model_dump(exclude={"version"})
        for path in self._wide:
            _replace(plain, path, str)
        return plain

    def decode(self, data: bytes, name: str, most_rows: int) -> list[Row]:
        """The rows of a file.

        Args:
            name: what the file is called in errors.

        Raises:
            MalformedMessage: it is not such a file, has more rows or memory than it may, is not in order, or
                a row is not a message; the first offence is named.
        """
        return list(self.stream(io.BytesIO(data), name, most_rows))

    def stream(self, source: io.BytesIO | Path, name: str, most_rows: int) -> Iterator[Row]:
        """The rows one after the other, a group of them in memory at a time.

        Args:
            source: the file, or its bytes.

        Raises:
            MalformedMessage: as `decode`, once the offending row is reached.
        """
        before: Any = None
        try:
            with pq.ParquetFile(source) as file:
                self._check(file, name, most_rows)
                for number, plain in enumerate(self._plain_rows(file), start=1):
                    row = self._row(plain, f"{name} row {number}")
                    key = self._key(row)
                    if before is not None and before >= key:
                        raise MalformedMessage(f"{name} is not in order, or has a row twice")
                    before = key
                    yield row
        except (pa.ArrowException, OSError) as error:
            raise MalformedMessage(f"{name} is not a Parquet file of {self.schema}: {error}") from None

    def count(self, source: io.BytesIO | Path, name: str, most_rows: int) -> int:
        """How many rows a file of these columns has, without reading them.

        Raises:
            MalformedMessage: it is not such a file, or has more rows or memory than it may.
        """
        try:
            with pq.ParquetFile(source) as file:
                self._check(file, name, most_rows)
                return int(file.metadata.num_rows)
        except (pa.ArrowException, OSError) as error:
            raise MalformedMessage(f"{name} is not a Parquet file of {self.schema}: {error}") from None

    def _check(self, file: pq.ParquetFile, name: str, most_rows: int) -> None:
        found = (file.schema_arrow.metadata or {}).get(SCHEMA_KEY, b"").decode(errors="replace")
        if found != self.schema:
            raise MalformedMessage(
                f"{name} has the schema {found or 'of another program'}, expected is {self.schema}: "
                "is this program up to date?"
            )
        if not file.schema_arrow.equals(self.arrow, check_metadata=False):
            raise MalformedMessage(f"{name} has other columns than {self.schema}")
        if file.metadata.num_rows > most_rows:
            raise MalformedMessage(f"{name} has {file.metadata.num_rows} rows, {most_rows} are promised")
        groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
        if any(group.total_byte_size > MAX_GROUP_BYTES for group in groups):
            raise MalformedMessage(f"{name} has a group of rows of more than {MAX_GROUP_BYTES} bytes")

    def _plain_rows(self, file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
        for batch in file.iter_batches(batch_size=1024):
            yield from batch.to_pylist(maps_as_pydicts="strict")

    def _row(self, plain: dict[str, Any], name: str) -> Row:
        try:
            for path in self._wide:
                _replace(plain, path, int)
            return self.kind.model_validate_json(orjson.dumps(plain))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole row"
            raise MalformedMessage(f"{name} is not what it should be: {place}: {first['msg']}") from None
        except (ValueError, orjson.JSONEncodeError) as error:
            raise MalformedMessage(f"{name} is not what it should be: {error}") from None


def _replace(plain: dict[str, Any], path: tuple[str, ...], convert: Callable[[Any], Any]) -> None:
    """Convert the value at `path`, if it is there."""
    inner: Any = plain
    for name in path[:-1]:
        inner = inner[name]
        if inner is None:
            return
    if inner[path[-1]] is not None:
        inner[path[-1]] = convert(inner[path[-1]])
