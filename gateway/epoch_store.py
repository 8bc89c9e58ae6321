"""What the gateway has read of published epochs: which there are, its own requests in them, all standings."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.dialects import sqlite

from gateway.published_epochs import Findings, FoundSummary
from gateway.receipt_database import epochs, published_requests, standings
from gateway.standings import AuditStanding
from shared.database import Database

KEPT_EPOCHS = 2000
"""Epochs whose audits are kept, about a month of 25-minute epochs; older ones are in the bucket."""


@dataclass(frozen=True)
class KnownEpoch:
    """One epoch that was read. Times are milliseconds of Unix time."""

    number: int
    digest: str
    publisher: str
    opened_at_ms: int
    closed_at_ms: int


@dataclass(frozen=True)
class PublishedRequest:
    """What a published epoch says of a request; `audit` is None when it was not audited."""

    epoch: KnownEpoch
    audit: dict[str, Any] | None


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
            row = connection.execute(select(epochs).where(epochs.c.number == number)).first()
        return KnownEpoch(**row._asdict()) if row else None

    def find(self, request_id: str) -> PublishedRequest | None:
        """What is published of a request."""
        query = select(published_requests.c.epoch, published_requests.c.audit).where(
            published_requests.c.request_id == request_id
        )
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        epoch = self._epoch(row.epoch) if row else None
        if row is None or epoch is None:
            return None
        return PublishedRequest(epoch, None if row.audit is None else json.loads(row.audit))

    def standings(self) -> dict[str, AuditStanding]:
        """The standings of the newest epoch."""
        with self._database.reading() as connection:
            rows = connection.execute(select(standings)).all()
        return {row.hotkey: AuditStanding(row.audits, row.passes, row.rejected, row.epoch) for row in rows}

    def add(self, found: FoundSummary, findings: Findings) -> None:
        """Take in the epoch after the newest one, and drop what is too old; doing it twice does no harm."""
        summary = found.summary
        rows = [
            {"request_id": request_id, "epoch": summary.epoch, "audit": audit and json.dumps(audit)}
            for request_id, audit in findings.items()
        ]
        with self._database.writing() as connection:
            connection.execute(
                sqlite.insert(epochs)
                .on_conflict_do_nothing()
                .values(
                    number=summary.epoch,
                    digest=found.digest,
                    publisher=summary.publisher,
                    opened_at_ms=summary.opened_at_ms,
                    closed_at_ms=summary.closed_at_ms,
                )
            )
            if rows:
                connection.execute(sqlite.insert(published_requests).prefix_with("OR REPLACE"), rows)
            last = summary.epoch - KEPT_EPOCHS
            connection.execute(delete(published_requests).where(published_requests.c.epoch <= last))
            connection.execute(delete(epochs).where(epochs.c.number <= last))
            connection.execute(delete(standings))
            if standing := _rows(summary.standings()):
                connection.execute(insert(standings), standing)

    def forget_all(self) -> None:
        """Drop everything: another publisher's epochs are followed from now on."""
        with self._database.writing() as connection:
            for table in (epochs, published_requests, standings):
                connection.execute(delete(table))


def _rows(known: Mapping[str, AuditStanding]) -> list[dict[str, Any]]:
    return [{"hotkey": hotkey, **vars(standing)} for hotkey, standing in known.items()]
