"""Epochs from opening to publication, as far as they have come."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from sqlalchemy import Select, delete, func, insert, select, update
from sqlalchemy.engine import Connection

from shared.canonical import sha256_hex
from validator.database import Database, epochs, requests, sealed_files, verdicts
from validator.epoch_summary import EpochSummary, parse_message
from validator.request_state import RequestKey
from validator.weight_state import WeightEntry, queue_weights

EpochPhase = Literal["open", "closing", "scored", "published"]
"""open: takes requests. closing: takes none, its audits are finished. scored: its summary is signed.
published: the summary is in the store."""

KEPT_EPOCHS = 1000
"""Summaries kept in the database (about 17 days of 25-minute epochs); the store has all."""


@dataclass(frozen=True)
class Epoch:
    """One epoch. `closing_since_ms` is when it stopped taking requests."""

    number: int
    phase: EpochPhase
    opened_at_ms: int
    ends_at_ms: int
    closing_since_ms: int | None


@dataclass(frozen=True)
class SealedEpoch:
    """A signed summary as it is published, and its digest."""

    number: int
    phase: EpochPhase
    data: bytes
    digest: str

    def summary(self) -> EpochSummary:
        """The summary itself."""
        return parse_message(EpochSummary, self.data, f"the summary of epoch {self.number}")


class EpochState:
    """Numbers rise by one and never repeat. Every method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def is_empty(self) -> bool:
        """Whether no epoch has ever been opened here."""
        with self._database.reading() as connection:
            return connection.execute(select(epochs.c.number).limit(1)).first() is None

    def adopt(self, epoch: int, data: bytes, now_ms: int) -> None:
        """Continue after a summary that was published by an earlier installation."""
        values = {
            "number": epoch,
            "state": "published",
            "opened_at_ms": now_ms,
            "ends_at_ms": now_ms,
            "closed_at_ms": now_ms,
            "summary": data.decode(),
            "summary_digest": sha256_hex(data),
        }
        with self._database.writing() as connection:
            connection.execute(insert(epochs).values(values))

    def in_phase(self, phase: EpochPhase) -> Epoch | None:
        """The oldest epoch in this phase."""
        query = select(epochs).where(epochs.c.state == phase).order_by(epochs.c.number).limit(1)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return Epoch(row.number, row.state, row.opened_at_ms, row.ends_at_ms, row.closed_at_ms)

    def open_next(self, now_ms: int, ends_at_ms: int) -> int:
        """Open an epoch; the one that was open begins to close. Returns the new number."""
        with self._database.writing() as connection:
            newest = connection.execute(select(func.max(epochs.c.number))).scalar() or 0
            connection.execute(
                update(epochs).where(epochs.c.state == "open").values(state="closing", closed_at_ms=now_ms)
            )
            connection.execute(
                insert(epochs).values(
                    number=newest + 1, state="open", opened_at_ms=now_ms, ends_at_ms=ends_at_ms
                )
            )
        return int(newest) + 1

    def save_scored(
        self,
        number: int,
        data: bytes,
        entries: Sequence[WeightEntry],
        detail: str,
        judged: Collection[RequestKey],
        files: Mapping[str, bytes] = MappingProxyType({}),
    ) -> None:
        """In one transaction: the signed summary is final, its weights wait to be set, texts are dropped.

        Of the epoch's verdicts those on `judged` stay, which are the ones that the summary names: one that
        came in meanwhile, or that the rule does not ask for, would not be what is published.
        """
        with self._database.writing() as connection:
            connection.execute(
                update(epochs)
                .where(epochs.c.number == number)
                .values(state="scored", summary=data.decode(), summary_digest=sha256_hex(data))
            )
            connection.execute(update(requests).where(requests.c.epoch == number).values(record=None))
            _keep_verdicts(connection, number, judged)
            if files:
                rows = [{"epoch": number, "key": key, "data": data} for key, data in files.items()]
                connection.execute(insert(sealed_files).values(rows))
            queue_weights(connection, number, entries, detail)

    def mark_published(self, number: int) -> None:
        """The store has this epoch; very old summaries are dropped here."""
        with self._database.writing() as connection:
            connection.execute(update(epochs).where(epochs.c.number == number).values(state="published"))
            connection.execute(delete(epochs).where(epochs.c.number <= number - KEPT_EPOCHS))
            connection.execute(delete(sealed_files).where(sealed_files.c.epoch <= number))

    def is_published(self, number: int) -> bool:
        """Whether the store has this epoch."""
        query = select(epochs.c.state).where(epochs.c.number == number)
        with self._database.reading() as connection:
            return connection.execute(query).scalar() == "published"

    def sealed_files(self, number: int) -> dict[str, bytes]:
        """The files of an epoch that were kept with its summary; none once it is published."""
        query = select(sealed_files.c.key, sealed_files.c.data).where(sealed_files.c.epoch == number)
        with self._database.reading() as connection:
            return {row.key: row.data for row in connection.execute(query)}

    def sealed(self, number: int | None = None) -> SealedEpoch | None:
        """The sealed epoch of this number, or the newest."""
        query = select(epochs).where(epochs.c.summary.is_not(None)).order_by(epochs.c.number.desc()).limit(1)
        if number is not None:
            query = query.where(epochs.c.number == number)
        return self._sealed(query)

    def oldest_unpublished(self) -> SealedEpoch | None:
        """The next epoch to publish."""
        return self._sealed(
            select(epochs).where(epochs.c.state == "scored").order_by(epochs.c.number).limit(1)
        )

    def newest_published(self) -> SealedEpoch | None:
        """The newest epoch that the store has."""
        published = (epochs.c.state == "published") & epochs.c.summary.is_not(None)
        return self._sealed(select(epochs).where(published).order_by(epochs.c.number.desc()).limit(1))

    def _sealed(self, query: Select[Any]) -> SealedEpoch | None:
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return SealedEpoch(row.number, row.state, row.summary.encode(), row.summary_digest)

    def list(self, limit: int) -> list[Epoch]:
        """The newest epochs, newest first."""
        query = select(epochs).order_by(epochs.c.number.desc()).limit(limit)
        with self._database.reading() as connection:
            return [
                Epoch(row.number, row.state, row.opened_at_ms, row.ends_at_ms, row.closed_at_ms)
                for row in connection.execute(query)
            ]


def _keep_verdicts(connection: Connection, epoch: int, judged: Collection[RequestKey]) -> None:
    stored = connection.execute(
        select(verdicts.c.request_id, verdicts.c.miner_hotkey).where(verdicts.c.epoch == epoch)
    ).all()
    for request_id, hotkey in stored:
        if (request_id, hotkey) not in judged:
            connection.execute(
                delete(verdicts).where(verdicts.c.request_id == request_id, verdicts.c.miner_hotkey == hotkey)
            )
