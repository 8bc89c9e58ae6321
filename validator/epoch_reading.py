"""Reads a published epoch, refusing what is not what its summary names."""

from collections.abc import Sequence
from typing import Any, TypeVar

from shared.canonical import sha256_hex
from shared.dataset import MAX_FILES, Table, files_of, is_table_key
from shared.errors import MalformedMessage, ObjectMissing
from shared.identifiers import Message
from shared.object_store import MAX_OBJECT_BYTES, ObjectReader
from shared.request_facts import ReceiptRow, RequestFacts, RequestRow, facts_of_rows
from validator.epoch_evidence import EpochRefused, RefusalCause
from validator.epoch_summary import EpochSummary, parse_message
from validator.epoch_tables import FORMATS, records_root
from validator.measurement import EpochInputs
from validator.probe_rounds import ProbeRound
from validator.round_history import NO_ROUNDS, RoundInputs
from validator.verdicts import Verdict

Parsed = TypeVar("Parsed", bound=Message)

MAX_ROWS = 10_000_000
"""Rows of one table of one epoch that a follower reads."""


def parse(cause: RefusalCause, kind: type[Parsed], data: bytes, name: str) -> Parsed:
    """A message, or the refusal of its epoch."""
    try:
        return parse_message(kind, data, name)
    except MalformedMessage as error:
        raise EpochRefused(cause, str(error)) from None


def get(reader: ObjectReader, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
    """An object that must be there.

    Raises:
        EpochRefused: it is not.
        StoreError: the store failed.
    """
    try:
        return reader.get(key, most_bytes)
    except ObjectMissing as error:
        raise EpochRefused("file", str(error)) from None


def read_table(reader: ObjectReader, summary: EpochSummary, table: Table) -> list[Any]:
    """The rows of one table, of the type that `validator.epoch_tables.FORMATS` says.

    Raises:
        EpochRefused: a file is missing, exchanged or damaged.
        StoreError: the store failed.
    """
    promised = files_of(summary.files, table)
    if not promised:
        raise EpochRefused("file", f"epoch {summary.epoch} names no table of {table}")
    rows: list[Any] = []
    for file in promised[:MAX_FILES]:
        if not is_table_key(file.key, table, summary.epoch):
            raise EpochRefused("file", f"{file.key} is no file of the {table} of epoch {summary.epoch}")
        data = get(reader, file.key)
        if sha256_hex(data) != file.sha256:
            raise EpochRefused("file", f"{file.key} is not the file that the summary names")
        try:
            rows += FORMATS[table].decode(data, file.key, min(file.rows, MAX_ROWS))
        except MalformedMessage as error:
            raise EpochRefused("file", str(error)) from None
    if len(rows) != sum(file.rows for file in promised):
        raise EpochRefused("file", f"the {table} of epoch {summary.epoch} are not as many as it says")
    return rows


def read_requests(reader: ObjectReader, summary: EpochSummary) -> list[RequestFacts]:
    """The records of an epoch, held against their Merkle root.

    Raises:
        EpochRefused: they are not those that the root stands for.
        StoreError: the store failed.
    """
    rows: list[RequestRow] = read_table(reader, summary, "requests")
    receipts: list[ReceiptRow] = read_table(reader, summary, "receipts")
    by_key = {one.key: one.receipt for one in receipts}
    facts = [facts_of_rows(row, by_key.pop(row.key, None)) for row in rows]
    if by_key:
        raise EpochRefused("records", f"the receipt of {next(iter(by_key))[0]} belongs to no record")
    if len(facts) != summary.records or records_root(facts) != summary.records_root:
        raise EpochRefused("records", f"the records of epoch {summary.epoch} are not those of its root")
    return facts


def read_inputs(reader: ObjectReader, summary: EpochSummary, previous: EpochSummary | None) -> EpochInputs:
    """Everything that decides an epoch's scores.

    Raises:
        EpochRefused: a file is missing, exchanged or damaged.
        StoreError: the store failed.
    """
    requests, verdicts = read_requests(reader, summary), read_table(reader, summary, "verdicts")
    return inputs_of(summary, previous, requests, verdicts, read_table(reader, summary, "rounds"))


def inputs_of(
    summary: EpochSummary,
    previous: EpochSummary | None,
    requests: Sequence[RequestFacts],
    verdicts: Sequence[Verdict],
    rounds: Sequence[ProbeRound],
) -> EpochInputs:
    """The same from tables that are read already."""
    return EpochInputs(
        epoch=summary.epoch,
        requests=requests,
        verdicts=verdicts,
        miners=summary.miners,
        history=summary.history,
        blocks=summary.challenge_blocks,
        refusals=summary.refusals,
        rounds=RoundInputs(
            secret=summary.round_secret,
            commitment=summary.round_commitment,
            rounds=rounds,
            history=previous.rounds_after if previous else NO_ROUNDS,
        ),
    )
