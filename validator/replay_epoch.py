"""One epoch as a replay holds it: what decides its scores in memory, texts and openings on disk."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.dataset import FileDigest, Table, files_of
from shared.errors import MalformedMessage
from shared.merkle import leaf_hash
from shared.request_facts import ReceiptRow, RequestFacts, RequestRow, facts_of_rows
from validator.epoch_evidence import EpochRefused
from validator.epoch_reading import MAX_ROWS, inputs_of
from validator.epoch_summary import EpochSummary
from validator.epoch_tables import FORMATS, WeightRow
from validator.measurement import EpochInputs
from validator.published_rows import ChallengeAnswers, IssuedChallenge, PublishedText
from validator.request_state import RequestKey
from validator.scoring import MinerScore
from validator.verdicts import Verdict

Files = Mapping[str, Path]
"""Where each of an epoch's files lies on this disk, by its key."""


@dataclass(frozen=True)
class Records:
    """The tables of requests and receipts, put together.

    Attributes:
        hashes: of each record's leaf, in order; `stated` are those of the table.
        orphans: receipts that belong to no record.
    """

    facts: Sequence[RequestFacts]
    hashes: Sequence[bytes]
    stated: Sequence[str]
    orphans: Sequence[RequestKey]


@dataclass(frozen=True)
class LoadedEpoch:
    """One epoch, read. `previous` is the summary before it, None if there is none or it can't be had."""

    summary: EpochSummary
    previous: EpochSummary | None
    files: Files
    records: Records
    challenges: Mapping[RequestKey, IssuedChallenge]
    verdicts: Mapping[RequestKey, Verdict]
    inputs: EpochInputs
    scores: Sequence[MinerScore]
    weights: Sequence[WeightRow]

    @property
    def number(self) -> int:
        """The epoch's number."""
        return self.summary.epoch

    def texts(self) -> Iterator[PublishedText]:
        """The published texts, read from disk."""
        return stream_table(self.summary.files, self.files, "texts")

    def openings(self) -> Iterator[ChallengeAnswers]:
        """What miners answered, read from disk."""
        return stream_table(self.summary.files, self.files, "openings")


def stream_table(promised: Sequence[FileDigest], files: Files, table: Table) -> Iterator[Any]:
    """The rows of one table, one after the other.

    Raises:
        EpochRefused: a row, or the file, is not what it should be.
    """
    for file in files_of(promised, table):
        try:
            yield from FORMATS[table].stream(files[file.key], file.key, min(file.rows, MAX_ROWS))
        except MalformedMessage as error:
            raise EpochRefused("file", str(error)) from None


def load_epoch(summary: EpochSummary, previous: EpochSummary | None, files: Files) -> LoadedEpoch:
    """Read the tables of an epoch.

    Raises:
        EpochRefused: a file holds what is no row of its table.
    """

    def rows(table: Table) -> list[Any]:
        return list(stream_table(summary.files, files, table))

    records, verdicts = _records(summary, files), rows("verdicts")
    return LoadedEpoch(
        summary,
        previous,
        files,
        records,
        challenges={one.key: one for one in rows("challenges")},
        verdicts={(one.request_id, one.miner_hotkey): one for one in verdicts},
        inputs=inputs_of(summary, previous, records.facts, verdicts, rows("rounds")),
        scores=rows("scores"),
        weights=rows("weights"),
    )


def _records(summary: EpochSummary, files: Files) -> Records:
    """Both tables are in the order of their keys, so that one passes beside the other."""
    facts: list[RequestFacts] = []
    hashes: list[bytes] = []
    stated: list[str] = []
    orphans: list[RequestKey] = []
    receipts = _Ahead(stream_table(summary.files, files, "receipts"))
    requests: Iterator[RequestRow] = stream_table(summary.files, files, "requests")
    for row in requests:
        orphans += receipts.before(row.key)
        one = facts_of_rows(row, receipts.take(row.key))
        facts.append(one)
        hashes.append(leaf_hash(one.leaf()))
        stated.append(row.leaf)
    return Records(facts, hashes, stated, [*orphans, *receipts.rest()])


class _Ahead:
    """Receipts in order, seen one ahead."""

    def __init__(self, rows: Iterator[ReceiptRow]) -> None:
        self._rows = rows
        self._next = next(rows, None)

    def before(self, key: RequestKey) -> list[RequestKey]:
        """Pass by the receipts whose key is smaller; returns their keys."""
        passed: list[RequestKey] = []
        while self._next is not None and self._next.key < key:
            passed.append(self._next.key)
            self._next = next(self._rows, None)
        return passed

    def take(self, key: RequestKey) -> Any:
        """The receipt of this key, if it is next."""
        if self._next is None or self._next.key != key:
            return None
        taken, self._next = self._next.receipt, next(self._rows, None)
        return taken

    def rest(self) -> list[RequestKey]:
        """The keys of all that are left."""
        left = [] if self._next is None else [self._next.key]
        return left + [one.key for one in self._rows]
