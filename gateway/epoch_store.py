"""What the gateway has read of published epochs: which there are, its own requests in them, all standings."""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection

from gateway.leaf_chunks import CHUNK_LEAVES, ROOTS, chunks_to_keep, path_in_chunks
from gateway.published_epochs import Findings
from gateway.published_summary import FoundSummary
from gateway.published_verdicts import PublishedVerdict
from gateway.receipt_database import (
    epochs,
    leaf_chunks,
    miner_audits,
    miner_scores,
    published_requests,
    standings,
)
from gateway.standings import AuditStanding
from shared.database import Database

KEPT_EPOCHS = 2000
"""Epochs that are kept, with their audits of this gateway's requests: about a month of 25-minute epochs;
older ones are in the bucket."""

KEPT_SCORED_EPOCHS = 500
"""Epochs whose scores are kept for all miners, a week of 25-minute epochs: some 100 MB for 256 miners."""

MOST_AUDITS = 200_000
"""Audits that are kept of all miners, some 200 MB; whole epochs are dropped, the oldest first."""

MOST_AUDITS_OF_MINER = 200
"""Audits that are kept of one miner and epoch, failed ones first; the table of verdicts has all."""

ROWS_AT_ONCE = 1000
"""Rows that are made ready for the database at a time, so that an epoch of 100,000 takes little memory."""

_WORST_FIRST: Mapping[str, int] = {"fail": 0, "inconclusive": 1, "pass": 2}


@dataclass(frozen=True)
class KnownEpoch:
    """One epoch that was read. Times are milliseconds of Unix time."""

    number: int
    digest: str
    publisher: str
    opened_at_ms: int
    closed_at_ms: int
    records: int
    records_root: str


@dataclass(frozen=True)
class PublishedRequest:
    """What a published epoch says of a request; `audit` is None when it was not audited.

    Attributes:
        index: which leaf of the epoch's Merkle tree it is.
        path: from that leaf to the root.
    """

    epoch: KnownEpoch
    audit: dict[str, Any] | None
    index: int
    path: Sequence[bytes]
    known_prefix_tokens: int | None
    text_published: bool


_KNOWN = [epochs.c[name] for name in KnownEpoch.__dataclass_fields__]


class EpochStore:
    """Every method is one transaction and blocks. Raises SQLAlchemyError when the file can't be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self) -> KnownEpoch | None:
        """The newest epoch that was read."""
        return self._epoch(select(func.max(epochs.c.number)).scalar_subquery())

    def oldest(self) -> KnownEpoch | None:
        """The oldest epoch that is still known."""
        return self._epoch(select(func.min(epochs.c.number)).scalar_subquery())

    def _epoch(self, number: Any) -> KnownEpoch | None:
        with self._database.reading() as connection:
            row = connection.execute(select(*_KNOWN).where(epochs.c.number == number)).first()
        return KnownEpoch(**row._asdict()) if row else None

    def find(self, request_id: str) -> PublishedRequest | None:
        """What is published of a request."""
        query = select(published_requests).where(published_requests.c.request_id == request_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        epoch = self._epoch(row.epoch) if row else None
        if row is None or epoch is None:
            return None
        return PublishedRequest(
            epoch,
            None if row.audit is None else json.loads(row.audit),
            row.leaf_index,
            self._path(row.epoch, row.leaf_index),
            row.known_prefix_tokens,
            row.text_published,
        )

    def _path(self, epoch: int, index: int) -> list[bytes]:
        number = index // CHUNK_LEAVES
        query = select(leaf_chunks.c.chunk, leaf_chunks.c.hashes).where(
            leaf_chunks.c.epoch == epoch, leaf_chunks.c.chunk.in_([number, ROOTS])
        )
        with self._database.reading() as connection:
            found = {row.chunk: row.hashes for row in connection.execute(query)}
        return path_in_chunks(index, found[number], found[ROOTS])

    def standings(self) -> dict[str, AuditStanding]:
        """The standings of the newest epoch."""
        with self._database.reading() as connection:
            rows = connection.execute(select(standings)).all()
        return {row.hotkey: AuditStanding(row.audits, row.passes, row.rejected, row.epoch) for row in rows}

    def add(self, found: FoundSummary, findings: Findings) -> None:
        """Take in the epoch after the newest one, and drop what is too old; doing it twice does no harm."""
        summary = found.summary
        with self._database.writing() as connection:
            _add_epoch(connection, found, findings)
            _add_requests(connection, summary.epoch, findings)
            _add_miners(connection, found, findings.verdicts)
            _forget_old(connection, summary.epoch)
            connection.execute(delete(standings))
            if standing := _rows(summary.standings()):
                connection.execute(insert(standings), standing)

    def forget_all(self) -> None:
        """Drop everything: another publisher's epochs are followed from now on."""
        with self._database.writing() as connection:
            for table in (epochs, published_requests, leaf_chunks, miner_scores, miner_audits, standings):
                connection.execute(delete(table))


def _add_epoch(connection: Connection, found: FoundSummary, findings: Findings) -> None:
    summary = found.summary
    values = {name: getattr(summary, name) for name in KnownEpoch.__dataclass_fields__.keys() - _OWN_NAMES}
    values |= {
        "number": summary.epoch,
        "digest": found.digest,
        "told": json.dumps(summary.told(found.digest, (one.outcome for one in findings.verdicts))),
        "files": json.dumps([file.model_dump() for file in summary.files]),
        "manifest_sha256": summary.manifest_sha256,
        "manifest": findings.manifest.decode(errors="replace"),
    }
    connection.execute(update(epochs).values(manifest=None))
    connection.execute(sqlite.insert(epochs).prefix_with("OR REPLACE"), values)


_OWN_NAMES = {"number", "digest"}


def _add_requests(connection: Connection, epoch: int, findings: Findings) -> None:
    audits = {one.request_id: one for one in findings.verdicts}
    for first in range(0, len(findings.own), ROWS_AT_ONCE):
        rows = [
            {
                "request_id": one.request_id,
                "epoch": epoch,
                "leaf_index": one.index,
                "known_prefix_tokens": one.known_prefix_tokens,
                "text_published": one.text_published,
                "audit": json.dumps(audits[one.request_id].told()) if one.request_id in audits else None,
            }
            for one in findings.own[first : first + ROWS_AT_ONCE]
        ]
        connection.execute(sqlite.insert(published_requests).prefix_with("OR REPLACE"), rows)
    if not findings.own:
        return
    kept = chunks_to_keep(findings.leaves, [one.index for one in findings.own])
    connection.execute(
        sqlite.insert(leaf_chunks).prefix_with("OR REPLACE"),
        [{"epoch": epoch, "chunk": number, "hashes": hashes} for number, hashes in kept.items()],
    )


def _add_miners(connection: Connection, found: FoundSummary, verdicts: Sequence[PublishedVerdict]) -> None:
    epoch, by_hotkey = found.summary.epoch, defaultdict[str, list[PublishedVerdict]](list)
    for verdict in verdicts:
        by_hotkey[verdict.miner_hotkey].append(verdict)
    scores = [
        {
            "hotkey": score["hotkey"],
            "epoch": epoch,
            "uid": score["uid"],
            "told": json.dumps(score),
            "audits": json.dumps(Counter(one.outcome for one in by_hotkey[score["hotkey"]])),
        }
        for score in found.summary.scoreboard()
    ]
    audits = [
        {
            "hotkey": hotkey,
            "epoch": epoch,
            "place": place,
            "told": json.dumps({"request_id": one.request_id} | one.told()),
        }
        for hotkey, judged in by_hotkey.items()
        for place, one in enumerate(sorted(judged, key=_worst_first)[:MOST_AUDITS_OF_MINER])
    ]
    for table, rows in ((miner_scores, scores), (miner_audits, audits)):
        if rows:
            connection.execute(sqlite.insert(table).prefix_with("OR REPLACE"), rows)


def _worst_first(verdict: PublishedVerdict) -> tuple[int, int]:
    return _WORST_FIRST.get(verdict.outcome, 0), -verdict.audited_at_ms


def _forget_old(connection: Connection, newest: int) -> None:
    for table in (published_requests, leaf_chunks):
        connection.execute(delete(table).where(table.c.epoch <= newest - KEPT_EPOCHS))
    connection.execute(delete(epochs).where(epochs.c.number <= newest - KEPT_EPOCHS))
    for table in (miner_scores, miner_audits):
        connection.execute(delete(table).where(table.c.epoch <= newest - KEPT_SCORED_EPOCHS))
    query = select(miner_audits.c.epoch, func.count()).group_by(miner_audits.c.epoch)
    kept = 0
    for epoch, count in connection.execute(query.order_by(miner_audits.c.epoch.desc())).all():
        kept += count
        if kept > MOST_AUDITS:
            connection.execute(delete(miner_audits).where(miner_audits.c.epoch <= epoch))
            break


def _rows(known: Mapping[str, AuditStanding]) -> list[dict[str, Any]]:
    return [{"hotkey": hotkey, **vars(standing)} for hotkey, standing in known.items()]
