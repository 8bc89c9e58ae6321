"""Who leads, and for how long: by the lease in the database, and never longer than it is known to last."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import insert
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from shared.errors import ConfigError
from validator.database import Database, cursors
from validator.instance import own_instance
from validator.leadership import LEADER, Leadership, LeaseTimes, Term
from validator.leases import Lease, LeaseBook
from validator.troubles import Troubles

TIMES = LeaseTimes(lasts_s=10.0, renewed_s=0.001)


class Time:
    """One clock for the database and for every machine, moved by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def of_database(self, connection: Connection) -> int:
        return round(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s


class FlakyBook(LeaseBook):
    """Leases in a database that can be away."""

    away = False

    def take(self, name: str, holder: str, lasts_ms: int) -> Lease | None:
        self._reach()
        return super().take(name, holder, lasts_ms)

    def renew(self, lease: Lease, lasts_ms: int) -> bool:
        self._reach()
        return super().renew(lease, lasts_ms)

    def _reach(self) -> None:
        if self.away:
            raise OperationalError("SELECT 1", {}, Exception("the server is away"))


class Auditor:
    """One process that would lead."""

    def __init__(self, name: str, database: Database, time: Time) -> None:
        self.database, self.troubles = database, Troubles()
        self.book = FlakyBook(database, time.of_database)
        self.leadership = Leadership(self.book, name, TIMES, self.troubles, time.monotonic_s)
        self.terms: list[Term] = []
        self.fails = False
        self.running = asyncio.create_task(self.leadership.run(self.lead))

    async def lead(self, term: Term) -> bool:
        self.terms.append(term)
        return await term.run({"work": self._work(term)})

    async def _work(self, term: Term) -> None:
        while not self.fails:
            await asyncio.sleep(0.001)
        raise ZeroDivisionError

    async def leads(self, expected: bool = True) -> None:
        async with asyncio.timeout(60):
            while self.leadership.leads is not expected:
                await asyncio.sleep(0.001)

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@pytest.fixture
def time() -> Time:
    return Time()


async def test_one_leads_and_the_next_follows_when_it_ends(database: Database, time: Time) -> None:
    first = Auditor("first", database, time)
    await first.leads()
    second = Auditor("second", database, time)
    await asyncio.sleep(0.05)
    assert not second.leadership.leads
    assert second.book.holder(LEADER) == "first"
    await first.end()
    await second.leads()
    assert second.terms[0].lease.token == first.terms[0].lease.token + 1
    await second.end()


async def test_a_leader_whose_lease_was_taken_no_longer_leads(database: Database, time: Time) -> None:
    first = Auditor("first", database, time)
    await first.leads()
    first.book.away = True
    time.now_s += TIMES.lasts_s
    assert not first.leadership.leads, "it knows by its own clock, before it can ask"
    assert LeaseBook(database, time.of_database).take(LEADER, "second", 10_000) is not None
    first.book.away = False
    await first.leads(False)
    await asyncio.sleep(0.05)
    assert len(first.terms) == 1
    await first.end()


async def test_a_database_that_is_away_for_less_than_the_lease_changes_nothing(
    database: Database, time: Time
) -> None:
    first = Auditor("first", database, time)
    await first.leads()
    first.book.away = True
    async with asyncio.timeout(60):
        while not first.troubles.all():
            await asyncio.sleep(0.001)
    assert "can't be renewed" in first.troubles.all()["leadership"]
    time.now_s += TIMES.lasts_s / 2
    first.book.away = False
    async with asyncio.timeout(60):
        while first.troubles.all():
            await asyncio.sleep(0.001)
    assert first.leadership.leads
    assert len(first.terms) == 1
    await first.end()


async def test_a_database_that_is_away_for_longer_ends_the_term_and_it_leads_again_later(
    database: Database, time: Time
) -> None:
    first = Auditor("first", database, time)
    await first.leads()
    first.book.away = True
    time.now_s += TIMES.lasts_s
    async with asyncio.timeout(60):
        while not first.terms[0].over.is_set():
            await asyncio.sleep(0.001)
    first.book.away = False
    await first.leads()
    assert len(first.terms) == 2
    await first.end()


async def test_a_write_under_a_lost_lease_ends_the_term_and_not_the_process(
    database: Database, time: Time
) -> None:
    lease = LeaseBook(database, time.of_database).take(LEADER, "first", 10_000)
    assert lease is not None
    assert LeaseBook(database, time.of_database).take(LEADER, "first", 10_000) is not None
    term = Term(lease, time.now_s + 10, time.monotonic_s)
    guarded = database.guarded(lease.check)

    async def write() -> None:
        with guarded.writing() as connection:
            connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=1))

    assert await term.run({"work": write()})
    assert not term.lasts()


async def test_a_database_that_goes_away_ends_the_term_and_not_the_process(time: Time) -> None:
    async def write() -> None:
        raise OperationalError("INSERT", {}, Exception("the server is away"))

    term = Term(Lease(LEADER, "first", 1), time.now_s + 10, time.monotonic_s)
    assert await term.run({"work": write()})
    assert term.over.is_set()


async def test_a_defect_in_a_leaders_work_ends_the_process(database: Database, time: Time) -> None:
    first = Auditor("first", database, time)
    await first.leads()
    first.fails = True
    async with asyncio.timeout(60):
        await first.running
    assert first.book.holder(LEADER) is None, "so that another leads at once"


def test_a_state_folder_belongs_to_one_process_and_names_it_at_every_start(tmp_path: Path) -> None:
    with own_instance(tmp_path) as first:
        with pytest.raises(ConfigError, match="another auditor runs with --state-dir"):
            own_instance(tmp_path).__enter__()
        with own_instance(tmp_path / "other") as other:
            assert other != first
    with own_instance(tmp_path) as again:
        assert again == first
