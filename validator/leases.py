"""Leases in the database: who may do what only one process may do, for a while.

A lease that has run out can be taken by anybody. Its token rises with each change of hands, and whoever
writes under a lease has its token checked in the same transaction: a process that was stopped for longer than
its lease lasts can't write when it wakes. Clocks decide only when a lease changes hands, never whether two
hold it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from shared.database import insert_or_update, now_ms
from shared.errors import ConstantinopleError
from validator.database import Database, leases

DatabaseClock = Callable[[Connection], int]
"""Milliseconds of Unix time, the same for all that share a database."""


class LeaseLost(ConstantinopleError):
    """Another process has the lease by now; nothing was written."""


@dataclass(frozen=True)
class Lease:
    """A lease as it was taken."""

    name: str
    holder: str
    token: int

    def check(self, connection: Connection) -> None:
        """In a transaction that writes: nobody else has the lease until the transaction has ended.

        Raises:
            LeaseLost: somebody has.
        """
        query = select(leases.c.holder, leases.c.token).where(leases.c.name == self.name)
        row = connection.execute(query.with_for_update(read=True)).first()
        if row is None or row.token != self.token:
            other = "nobody" if row is None else row.holder
            raise LeaseLost(f"{self.holder} no longer has the lease {self.name!r}: {other} has")


class LeaseBook:
    """The leases of all processes that share a database. Every method is one transaction and blocks."""

    def __init__(self, database: Database, clock: DatabaseClock = now_ms) -> None:
        self._database, self._clock = database, clock

    def take(self, name: str, holder: str, lasts_ms: int) -> Lease | None:
        """The lease, if nobody has it; whoever has it already gets it anew, under the next token."""
        with self._database.writing() as connection:
            first = {"name": name, "holder": "", "token": 0, "expires_at_ms": 0}
            connection.execute(insert_or_update(connection, leases).on_conflict_do_nothing().values(first))
            row = connection.execute(select(leases).where(leases.c.name == name).with_for_update()).one()
            at_ms = self._clock(connection)
            if row.expires_at_ms > at_ms and row.holder != holder:
                return None
            values = {"holder": holder, "token": row.token + 1, "expires_at_ms": at_ms + lasts_ms}
            connection.execute(update(leases).where(leases.c.name == name).values(values))
        return Lease(name, holder, row.token + 1)

    def renew(self, lease: Lease, lasts_ms: int) -> bool:
        """Have it last from now on; False when another has taken it. One that ran out is renewed as well."""
        with self._database.writing() as connection:
            expires_at_ms = self._clock(connection) + lasts_ms
            return self._change(connection, lease, expires_at_ms)

    def release(self, lease: Lease) -> None:
        """Let others have it at once, if it is still held."""
        with self._database.writing() as connection:
            self._change(connection, lease, 0)

    def _change(self, connection: Connection, lease: Lease, expires_at_ms: int) -> bool:
        mine = (leases.c.name == lease.name, leases.c.token == lease.token)
        return bool(
            connection.execute(update(leases).where(*mine).values(expires_at_ms=expires_at_ms)).rowcount
        )

    def confirm(self, lease: Lease) -> None:
        """Check a lease right before something is done outside of the database.

        Raises:
            LeaseLost: another process has it.
        """
        with self._database.writing() as connection:
            lease.check(connection)

    def holder(self, name: str) -> str | None:
        """Who has the lease, if anybody does."""
        with self._database.reading() as connection:
            row = connection.execute(select(leases).where(leases.c.name == name)).first()
            if row is None or row.expires_at_ms <= self._clock(connection):
                return None
            return str(row.holder)
