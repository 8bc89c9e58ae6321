import io
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from shared.arrow_schema import WIDE_INTEGER, arrow_schema
from shared.errors import MalformedMessage
from shared.identifiers import Message, Seed, Whole
from shared.parquet import ROW_GROUP_ROWS, SCHEMA_KEY, TableFormat


class Inner(Message):
    version: Literal["inner/1"] = "inner/1"
    seed: Seed | None
    kind: Literal["a", "b"]


class Row(Message):
    version: Literal["row/1"] = "row/1"
    number: Whole
    words: str | None
    share: float
    flags: tuple[bool, ...]
    parts: tuple[Inner, ...] = ()
    ratios: Annotated[dict[str, float], Field(max_length=8)] = Field(default_factory=dict)
    inner: Inner | None = None


class Flat(Message):
    number: Whole
    inner: Inner | None


FLAT = TableFormat(Flat, "flat/1", lambda row: row.number)
finite = st.floats(allow_nan=False, allow_infinity=False)
seeds = st.none() | st.integers(-(1 << 63), (1 << 64) - 1)
inners = st.builds(Inner, seed=seeds, kind=st.sampled_from(["a", "b"]))


class Plain(Message):
    number: Whole
    words: str | None
    share: float
    flags: tuple[bool, ...]
    ratios: Annotated[dict[str, float], Field(max_length=8)]


PLAIN = TableFormat(Plain, "plain/1", lambda row: row.number)
plains = st.builds(
    Plain,
    number=st.integers(0, 1 << 53),
    words=st.none() | st.text(),
    share=finite,
    flags=st.lists(st.booleans()).map(tuple),
    ratios=st.dictionaries(st.text(), finite, max_size=8),
)


@given(st.lists(plains, unique_by=lambda row: row.number, max_size=20))
def test_rows_read_back_to_the_bit_in_order(rows: list[Plain]) -> None:
    data = PLAIN.encode(rows)
    assert PLAIN.decode(data, "file", len(rows)) == sorted(rows, key=lambda row: row.number)


@given(st.lists(st.none() | inners, max_size=20))
def test_seeds_of_64_bits_keep_their_digits(inner: list[Inner | None]) -> None:
    rows = [Flat(number=number, inner=one) for number, one in enumerate(inner)]
    assert FLAT.decode(FLAT.encode(rows), "file", len(rows)) == rows


def test_columns_follow_from_the_fields() -> None:
    schema = arrow_schema(Row, {"number": "which"})
    assert schema.names == ["number", "words", "share", "flags", "parts", "ratios", "inner"]
    assert schema.field("number").type == pa.int64()
    assert schema.field("number").metadata == {b"description": b"which"}
    assert (schema.field("number").nullable, schema.field("words").nullable) == (False, True)
    assert schema.field("inner").type.field("seed").type == WIDE_INTEGER


def test_an_integer_without_an_upper_bound_has_no_column() -> None:
    class Unbounded(Message):
        number: Annotated[int, Field(ge=0)]

    with pytest.raises(TypeError, match="without an upper bound"):
        arrow_schema(Unbounded)


def test_what_has_no_column_is_refused() -> None:
    class Odd(Message):
        either: int | str

    with pytest.raises(TypeError, match="has no Arrow type"):
        arrow_schema(Odd)


def written(rows: list[dict[str, Any]], schema: pa.Schema | None = None, name: str = "plain/1") -> bytes:
    """A file as another program might write it."""
    file = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema or PLAIN.arrow)
    pq.write_table(table.replace_schema_metadata({SCHEMA_KEY: name.encode()}), file)
    return file.getvalue()


def plain(number: int, **fields: Any) -> dict[str, Any]:
    return {"number": number, "words": None, "share": 0.5, "flags": [], "ratios": {}} | fields


def test_another_programs_file_of_this_schema_is_read() -> None:
    assert [row.number for row in PLAIN.decode(written([plain(1), plain(2)]), "file", 2)] == [1, 2]


REFUSED: dict[str, tuple[bytes, str]] = {
    "rubbish": (b"rubbish", "is not a Parquet file"),
    "nothing": (b"", "is not a Parquet file"),
    "a file cut short": (PLAIN.encode([])[:-9], "is not a Parquet file"),
    "another schema": (written([], name="plain/2"), "has the schema plain/2"),
    "no schema": (written([], name=""), "of another program"),
    "other columns": (written([{"number": 1}], pa.schema([("number", pa.int64())])), "has other columns"),
    "more rows than promised": (written([plain(1), plain(2), plain(3)]), "has 3 rows, 2 are promised"),
    "out of order": (written([plain(2), plain(1)]), "is not in order"),
    "a row twice": (written([plain(1), plain(1)]), "has a row twice"),
    "a negative count": (written([plain(-1)]), "row 1 is not what it should be: number"),
    "not a number": (written([plain(1, share=float("nan"))]), "row 1 is not what it should be: share"),
    "infinity": (written([plain(1, share=float("inf"))]), "row 1 is not what it should be: share"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_such_a_file_is_refused(name: str) -> None:
    data, words = REFUSED[name]
    with pytest.raises(MalformedMessage, match=words):
        PLAIN.decode(data, "file", 2)


def test_a_seed_that_is_no_number_is_refused() -> None:
    file = io.BytesIO()
    rows = [{"number": 1, "inner": {"seed": "one", "kind": "a"}}]
    pq.write_table(pa.Table.from_pylist(rows, FLAT.arrow), file)
    with pytest.raises(MalformedMessage, match="row 1 is not what it should be"):
        FLAT.decode(file.getvalue(), "file", 1)


@given(st.binary(max_size=300))
def test_rubbish_is_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        PLAIN.decode(b"PAR1" + data + b"PAR1", "file", 1)


def test_rows_can_be_read_one_by_one_from_a_file_of_many_groups(tmp_path: Path) -> None:
    rows = [Flat(number=number, inner=None) for number in range(ROW_GROUP_ROWS + 2)]
    file = tmp_path / "flat.parquet"
    file.write_bytes(FLAT.encode(rows))
    assert FLAT.count(file, "flat", len(rows)) == len(rows)
    stream = FLAT.stream(file, "flat", len(rows))
    assert next(stream) == rows[0]
    assert list(stream) == rows[1:]


def test_counting_refuses_what_reading_refuses(tmp_path: Path) -> None:
    file = tmp_path / "flat.parquet"
    file.write_bytes(FLAT.encode([Flat(number=1, inner=None), Flat(number=2, inner=None)]))
    with pytest.raises(MalformedMessage, match="2 rows, 1 are promised"):
        FLAT.count(file, "flat", 1)
    file.write_bytes(b"rubbish")
    with pytest.raises(MalformedMessage, match="is not a Parquet file"):
        FLAT.count(file, "flat", 1)
    with pytest.raises(MalformedMessage, match="is not a Parquet file"):
        list(FLAT.stream(file, "flat", 1))
