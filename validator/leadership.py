"""One of the auditors that share a database leads: for as long as it has the lease."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from shared.database import is_away
from validator.audit_leases import LEASE_MS
from validator.leases import Lease, LeaseBook, LeaseLost
from validator.supervision import run_until
from validator.troubles import Troubles

log = logging.getLogger(__name__)

LEADER = "leader"
SUBJECT = "leadership"


@dataclass(frozen=True)
class LeaseTimes:
    """How long the leader may say nothing, and how often it is heard from; how long a request that is audited
    stays with an auditor that says nothing. Seconds.
    """

    lasts_s: float = 15.0
    renewed_s: float = 3.0
    audits_s: float = LEASE_MS / 1000

    @property
    def lasts_ms(self) -> int:
        """How long the lease lasts."""
        return round(self.lasts_s * 1000)


class Term:
    """The time for which this process leads without a break.

    Attributes:
        lease: what everything that it writes is checked against.
        over: set once somebody else may lead.
    """

    def __init__(self, lease: Lease, until_s: float, monotonic_s: Callable[[], float]) -> None:
        self.lease, self.over = lease, asyncio.Event()
        self.until_s, self._monotonic_s = until_s, monotonic_s

    def lasts(self) -> bool:
        """Whether the lease has not run out, by this machine's clock: nothing is begun when it has."""
        return not self.over.is_set() and self._monotonic_s() < self.until_s

    async def run(self, tasks: Mapping[str, Coroutine[Any, Any, None]]) -> bool:
        """Run a leader's endless tasks until the term is over; False when one of them failed instead."""
        return await run_until(self.over, {name: self._heeding(task) for name, task in tasks.items()})

    async def _heeding(self, task: Coroutine[Any, Any, None]) -> None:
        try:
            await task
        except (LeaseLost, DBAPIError) as error:
            if isinstance(error, DBAPIError) and not is_away(error):
                raise
            log.warning("this term ends: %s", error)
            self.over.set()
            if not _is_cancelled():
                await asyncio.Event().wait()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


Lead = Callable[[Term], Awaitable[bool]]
"""Does a leader's work until the term is over; False when it failed."""


class Leadership:
    """Takes the lease whenever nobody has it, and leads then.

    Args:
        holder: names this process among all that share the database, and nobody else.
    """

    def __init__(
        self,
        book: LeaseBook,
        holder: str,
        times: LeaseTimes,
        troubles: Troubles,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book, self._holder, self._times = book, holder, times
        self._troubles, self._monotonic_s = troubles, monotonic_s
        self.term: Term | None = None

    @property
    def leads(self) -> bool:
        """Whether this process leads now."""
        return self.term is not None and self.term.lasts()

    async def run(self, lead: Lead) -> None:
        """Lead again and again; returns when a leader's work has failed."""
        while True:
            term = await self._take()
            if term is None:
                await asyncio.sleep(self._times.renewed_s)
            elif not await self._lead(term, lead):
                return

    async def _take(self) -> Term | None:
        asked_s = self._monotonic_s()
        try:
            lasts_ms = self._times.lasts_ms
            lease = await asyncio.to_thread(self._book.take, LEADER, self._holder, lasts_ms)
        except SQLAlchemyError as error:
            self._troubles.report(SUBJECT, f"the database can't be asked who leads: {error}")
            return None
        self._troubles.clear(SUBJECT)
        if lease is None:
            return None
        log.info("this auditor leads (term %d): it opens and seals epochs and sets weights", lease.token)
        return Term(lease, asked_s + self._times.lasts_s, self._monotonic_s)

    async def _lead(self, term: Term, lead: Lead) -> bool:
        self.term = term
        renewing = asyncio.create_task(self._renew(term))
        try:
            return await lead(term)
        except (LeaseLost, DBAPIError) as error:
            if isinstance(error, DBAPIError) and not is_away(error):
                raise
            log.warning("this auditor no longer leads: %s", error)
            return True
        finally:
            self.term = None
            term.over.set()
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            with suppress(SQLAlchemyError):
                await asyncio.to_thread(self._book.release, term.lease)

    async def _renew(self, term: Term) -> None:
        """Renew the lease until another has it, or until it could not be renewed for as long as it lasts."""
        while not term.over.is_set():
            await asyncio.sleep(self._times.renewed_s)
            asked_s = self._monotonic_s()
            try:
                kept = await asyncio.to_thread(self._book.renew, term.lease, self._times.lasts_ms)
            except SQLAlchemyError as error:
                self._troubles.report(SUBJECT, f"the lease can't be renewed: {error}")
                kept = asked_s < term.until_s
            else:
                self._troubles.clear(SUBJECT)
                term.until_s = asked_s + self._times.lasts_s if kept else term.until_s
            if not kept:
                log.warning("this auditor no longer leads: its lease has passed to another, or run out")
                term.over.set()
