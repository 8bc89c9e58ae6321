"""The tables of an epoch: everything that led to its scores, as Parquet files, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from shared.canonical import sha256_hex
from shared.dataset import FileDigest, Table, table_key
from shared.identifiers import Message, Ss58
from shared.merkle import MerkleTree
from shared.parquet import TableFormat
from shared.request_facts import ReceiptRow, RequestFacts, RequestRow, request_row
from validator.dataset_columns import DESCRIPTIONS
from validator.measurement import Uid
from validator.probe_rounds import ProbeRound
from validator.published_rows import (
    ChallengeAnswers,
    ChallengeExchange,
    IssuedChallenge,
    PublishedText,
)
from validator.scoring import MinerScore
from validator.verdicts import Verdict
from validator.weights import U16_MAX


class UidWeight(Message):
    """One weight as it goes to the chain."""

    uid: Uid
    weight: Annotated[int, Field(ge=1, le=U16_MAX)]


class WeightRow(UidWeight):
    """A weight with the hotkey that the uid belonged to."""

    hotkey: Ss58


def _format(table: Table, kind: type[Any], key: Any, version: int = 1) -> TableFormat[Any]:
    return TableFormat(kind, f"{table}/{version}", key, DESCRIPTIONS[table])


def _of_request(row: Any) -> tuple[str, str]:
    return row.request_id, row.miner_hotkey


FORMATS: Mapping[Table, TableFormat[Any]] = {
    "requests": _format("requests", RequestRow, _of_request),
    "receipts": _format("receipts", ReceiptRow, _of_request),
    "texts": _format("texts", PublishedText, _of_request),
    "challenges": _format("challenges", IssuedChallenge, _of_request),
    "openings": _format("openings", ChallengeAnswers, _of_request),
    "verdicts": _format("verdicts", Verdict, _of_request),
    "rounds": _format("rounds", ProbeRound, lambda row: row.block),
    "scores": _format("scores", MinerScore, lambda row: row.hotkey),
    "weights": _format("weights", WeightRow, lambda row: row.uid),
}
"""How each table is written; rows are in the order of these keys."""


@dataclass(frozen=True)
class EpochContents:
    """What is published of an epoch beside its summary; order does not matter."""

    requests: Sequence[RequestFacts]
    texts: Sequence[PublishedText]
    exchanges: Sequence[ChallengeExchange]
    verdicts: Sequence[Verdict]
    rounds: Sequence[ProbeRound]
    scores: Sequence[MinerScore]
    weights: Sequence[WeightRow]

    def rows(self) -> dict[Table, Sequence[Message]]:
        """The rows of each table."""
        return {
            "requests": [request_row(one) for one in self.requests],
            "receipts": [
                ReceiptRow(request_id=one.request_id, miner_hotkey=one.miner_hotkey, receipt=one.receipt)
                for one in self.requests
                if one.receipt is not None
            ],
            "texts": self.texts,
            "challenges": [one.challenge for one in self.exchanges],
            "openings": [one.answers for one in self.exchanges],
            "verdicts": self.verdicts,
            "rounds": self.rounds,
            "scores": self.scores,
            "weights": self.weights,
        }


@dataclass(frozen=True)
class EpochFile:
    """A file that is to be published."""

    digest: FileDigest
    data: bytes


def epoch_files(contents: EpochContents, day: str, epoch: int) -> list[EpochFile]:
    """The tables' files, in the order of their keys."""
    files = []
    for table, rows in contents.rows().items():
        data = FORMATS[table].encode(rows)
        digest = FileDigest(
            table=table,
            key=table_key(table, day, epoch),
            sha256=sha256_hex(data),
            size_bytes=len(data),
            rows=len(rows),
        )
        files.append(EpochFile(digest, data))
    return sorted(files, key=lambda file: file.digest.key)


def records_root(requests: Sequence[RequestFacts]) -> str:
    """Root of the Merkle tree over the records of an epoch, in the order of their keys; hexadecimal."""
    ordered = sorted(requests, key=lambda one: one.key)
    return MerkleTree([one.leaf() for one in ordered]).root.hex()
