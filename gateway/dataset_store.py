"""What the gateway has read of published epochs, as it is told to everybody: queries, a page at a time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from gateway.receipt_database import epochs, miner_audits, miner_scores
from shared.database import Database

MOST_EPOCHS_OF_PAGE = 100
MOST_AUDITS_OF_PAGE = 200
"""Audits of one page of a miner's history, after which no further epoch begins: some 400 kB at most."""


@dataclass(frozen=True)
class Known:
    """Which epochs have been read; `digest` is the newest summary's."""

    oldest: int
    newest: int
    digest: str


@dataclass(frozen=True)
class Page:
    """Some rows, newest first; `before` is what the next page begins before, None after the last."""

    rows: Sequence[dict[str, Any]]
    before: int | None


class DatasetStore:
    """Every method blocks. Raises SQLAlchemyError when the file can't be used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self) -> Known | None:
        """The epochs that have been read; None while there are none."""
        newest = select(func.max(epochs.c.number)).scalar_subquery()
        query = select(epochs.c.number, epochs.c.digest).where(epochs.c.number == newest)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
            oldest = connection.execute(select(func.min(epochs.c.number))).scalar()
        return None if row is None or oldest is None else Known(oldest, row.number, row.digest)

    def epoch(self, number: int) -> dict[str, Any] | None:
        """What is told of an epoch, its files among it."""
        found = self.epochs(number + 1, 1).rows
        return dict(found[0]) if found and found[0]["number"] == number else None

    def epochs(self, before: int | None, limit: int) -> Page:
        """Epochs below `before`, newest first."""
        query = select(epochs.c.number, epochs.c.told, epochs.c.files, epochs.c.manifest_sha256)
        if before is not None:
            query = query.where(epochs.c.number < before)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(epochs.c.number.desc()).limit(limit + 1)).all()
        rows = [
            json.loads(row.told) | {"files": json.loads(row.files), "manifest_sha256": row.manifest_sha256}
            for row in found[:limit]
        ]
        return Page(rows, rows[-1]["number"] if len(found) > limit else None)

    def manifest(self) -> dict[str, Any]:
        """The newest epoch's manifest; empty when there is none."""
        query = select(epochs.c.manifest).where(epochs.c.manifest.is_not(None))
        with self._database.reading() as connection:
            text = connection.execute(query.order_by(epochs.c.number.desc()).limit(1)).scalar()
        found = json.loads(text) if text else {}
        return found if isinstance(found, dict) else {}

    def scores(self, epoch: int) -> list[dict[str, Any]]:
        """The scores of an epoch by uid, hotkeys that have left last, each with its audits counted."""
        query = select(miner_scores).where(miner_scores.c.epoch == epoch)
        order = (miner_scores.c.uid.is_(None), miner_scores.c.uid, miner_scores.c.hotkey)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(*order)).all()
        return [_score(row) for row in rows]

    def miner(self, hotkey: str, before: int | None, limit: int) -> Page:
        """A miner's epochs below `before`, newest first, each with its score and audits."""
        query = select(miner_scores).where(miner_scores.c.hotkey == hotkey)
        if before is not None:
            query = query.where(miner_scores.c.epoch < before)
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(miner_scores.c.epoch.desc()).limit(limit + 1)).all()
            rows: list[dict[str, Any]] = []
            told = 0
            for row in found[:limit]:
                if told >= MOST_AUDITS_OF_PAGE:
                    break
                audits = self._audits(connection, hotkey, row.epoch)
                told += len(audits)
                rows.append(_score(row) | {"epoch": row.epoch, "audits": audits})
        return Page(rows, rows[-1]["epoch"] if rows and len(found) > len(rows) else None)

    def _audits(self, connection: Any, hotkey: str, epoch: int) -> list[dict[str, Any]]:
        query = select(miner_audits.c.told).where(
            miner_audits.c.hotkey == hotkey, miner_audits.c.epoch == epoch
        )
        return [json.loads(text) for text in connection.scalars(query.order_by(miner_audits.c.place))]

    def has_scored(self, hotkey: str) -> bool:
        """Whether a kept epoch has a score of this hotkey."""
        query = select(miner_scores.c.epoch).where(miner_scores.c.hotkey == hotkey).limit(1)
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None


def _score(row: Any) -> dict[str, Any]:
    counted: Mapping[str, int] = json.loads(row.audits)
    outcomes = {outcome: counted.get(outcome, 0) for outcome in ("pass", "fail", "inconclusive")}
    told: dict[str, Any] = json.loads(row.told)
    return told | {"audits_by_outcome": outcomes}
