"""Who audits which request: each is leased before its audit begins, so that several auditors divide the work.

A lease is in the request's row, by a token that rises with each lease. A verdict is stored under the newest
token alone (`RequestState.add_report`): of an auditor that was stopped for too long, nothing is.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, and_, or_, select, update
from sqlalchemy.engine import Connection

from shared.database import now_ms
from validator.database import Database, requests
from validator.leases import DatabaseClock
from validator.request_state import FOREVER_MS, RequestKey

LEASE_MS = 60_000
"""How long an auditor that says nothing keeps a request: several of its renewals, and a tenth of an epoch's
patience with audits that do not end."""


class AuditLeases:
    """Leases of requests. Every method is one transaction and blocks."""

    def __init__(self, database: Database, clock: DatabaseClock = now_ms, lasts_ms: int = LEASE_MS) -> None:
        self._database, self._clock, self._lasts_ms = database, clock, lasts_ms

    def clear(self) -> None:
        """Free all requests without a verdict: the auditor that had leased them is alone, and was killed."""
        unaudited = requests.c.lease_until_ms != FOREVER_MS
        with self._database.writing() as connection:
            connection.execute(update(requests).where(unaudited).values(lease_until_ms=0))

    def taken(self, epochs: Iterable[int]) -> set[RequestKey]:
        """The requests of some epochs that are leased now, by whomever."""
        query = select(requests.c.request_id, requests.c.miner_hotkey).where(
            requests.c.epoch.in_(list(epochs))
        )
        with self._database.reading() as connection:
            leased = requests.c.lease_until_ms > self._clock(connection)
            return {(row.request_id, row.miner_hotkey) for row in connection.execute(query.where(leased))}

    def take(self, keys: Sequence[RequestKey]) -> dict[RequestKey, int]:
        """Lease those of `keys` that nobody has; gives the token of each."""
        if not keys:
            return {}
        columns = (requests.c.request_id, requests.c.miner_hotkey, requests.c.lease_token)
        with self._database.writing() as connection:
            at_ms = self._clock(connection)
            free = (requests.c.lease_until_ms <= at_ms, requests.c.record.is_not(None), _one_of(keys))
            # A row that another auditor is about to take is left to it, not waited for.
            found = connection.execute(select(*columns).where(*free).with_for_update(skip_locked=True)).all()
            tokens = {(row.request_id, row.miner_hotkey): row.lease_token + 1 for row in found}
            for key, token in tokens.items():
                values = {"lease_token": token, "lease_until_ms": at_ms + self._lasts_ms}
                connection.execute(update(requests).where(_one_of([key])).values(values))
        return tokens

    def renew(self, held: Mapping[RequestKey, int]) -> set[RequestKey]:
        """Have leases last from now on; gives those that are lost."""
        with self._database.writing() as connection:
            until_ms = self._clock(connection) + self._lasts_ms
            changed = {key: _change(connection, key, token, until_ms) for key, token in held.items()}
        return {key for key, was_held in changed.items() if not was_held}

    def release(self, held: Mapping[RequestKey, int]) -> None:
        """Let others have the requests at once, those that have no verdict."""
        with self._database.writing() as connection:
            for key, token in held.items():
                _change(connection, key, token, 0)


def _change(connection: Connection, key: RequestKey, token: int, until_ms: int) -> bool:
    held = (_one_of([key]), requests.c.lease_token == token, requests.c.lease_until_ms != FOREVER_MS)
    return bool(connection.execute(update(requests).where(*held).values(lease_until_ms=until_ms)).rowcount)


def _one_of(keys: Sequence[RequestKey]) -> ColumnElement[bool]:
    return or_(*(and_(requests.c.request_id == key[0], requests.c.miner_hotkey == key[1]) for key in keys))
