"""Weights on their way to the chain: kept until they are known to have arrived."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import ColumnElement, delete, insert, select, update
from sqlalchemy.engine import Connection

from validator.database import Database, weights

WeightState = Literal["pending", "sending", "committed", "set", "superseded", "skipped"]
"""pending: not sent yet. sending: sent, the outcome unknown. committed: the chain has a commitment to them,
and reveals them later. set: on chain. superseded: a newer epoch's weights came first. skipped: nothing to
set; the detail says why."""


@dataclass(frozen=True)
class WeightEntry:
    """One miner's weight: meant for the hotkey, sent to its uid while it holds that uid."""

    uid: int
    hotkey: str
    weight: int


@dataclass(frozen=True)
class EpochWeights:
    """The weights of one epoch. `sent_at_block` is the newest block when they were last sent."""

    epoch: int
    entries: tuple[WeightEntry, ...]
    state: WeightState
    detail: str
    sent_at_block: int | None


def queue_weights(connection: Connection, epoch: int, entries: Sequence[WeightEntry], detail: str) -> None:
    """Within a transaction: these weights are to be set; older ones that wait no longer are.

    Without entries there is nothing to set, and `detail` says why.
    """
    waiting = weights.c.state.in_(("pending", "sending"))
    superseded = {"state": "superseded", "detail": f"epoch {epoch} came first"}
    connection.execute(update(weights).where(waiting).values(superseded))
    connection.execute(delete(weights).where(weights.c.epoch == epoch))
    connection.execute(
        insert(weights).values(
            epoch=epoch,
            entries=json.dumps([[entry.uid, entry.hotkey, entry.weight] for entry in entries]),
            state="pending" if entries else "skipped",
            detail=detail,
        )
    )


class WeightQueue:
    """At most one set of weights waits at a time: the newest."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def queue(self, epoch: int, entries: Sequence[WeightEntry], detail: str) -> None:
        """`queue_weights` as a transaction of its own."""
        with self._database.writing() as connection:
            queue_weights(connection, epoch, entries, detail)

    def waiting(self) -> EpochWeights | None:
        """The weights that are not known to be on chain."""
        return self._newest(weights.c.state.in_(("pending", "sending")))

    def newest(self) -> EpochWeights | None:
        """The newest weights in whatever state."""
        return self._newest(weights.c.epoch >= 0)

    def _newest(self, condition: ColumnElement[bool]) -> EpochWeights | None:
        query = select(weights).where(condition).order_by(weights.c.epoch.desc())
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        entries = tuple(WeightEntry(*entry) for entry in json.loads(row.entries))
        return EpochWeights(row.epoch, entries, row.state, row.detail, row.sent_at_block)

    def mark(self, epoch: int, state: WeightState, detail: str, sent_at_block: int | None = None) -> None:
        """Note what became of an epoch's weights, unless newer ones have superseded them or they are set."""
        values: dict[str, object] = {"state": state, "detail": detail}
        if sent_at_block is not None:
            values["sent_at_block"] = sent_at_block
        current = (weights.c.epoch == epoch, weights.c.state.in_(("pending", "sending", "committed")))
        with self._database.writing() as connection:
            connection.execute(update(weights).where(*current).values(values))
