"""Leases on SQLite and on PostgreSQL: one holder at a time, and nothing written by one who has lost it."""

import threading

import pytest
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from validator.database import Database, cursors
from validator.documents import Documents
from validator.leases import Lease, LeaseBook, LeaseLost

LASTS_MS = 1000


class DatabaseTime:
    """The clock of a database that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self, connection: Connection) -> int:
        return self.now_ms


@pytest.fixture
def time() -> DatabaseTime:
    return DatabaseTime()


@pytest.fixture
def book(database: Database, time: DatabaseTime) -> LeaseBook:
    return LeaseBook(database, time)


def taken(book: LeaseBook, holder: str) -> Lease:
    lease = book.take("leader", holder, LASTS_MS)
    assert lease is not None
    return lease


def write(database: Database, lease: Lease, source: str) -> None:
    with database.guarded(lease.check).writing() as connection:
        connection.execute(insert(cursors).values(source=source, segment=1, offset_bytes=1))


def written(database: Database) -> list[str]:
    with database.reading() as connection:
        return list(connection.execute(select(cursors.c.source).order_by(cursors.c.source)).scalars())


def test_one_holder_at_a_time(book: LeaseBook) -> None:
    lease = taken(book, "a")
    assert book.take("leader", "b", LASTS_MS) is None
    assert book.holder("leader") == "a"
    assert book.take("another", "b", LASTS_MS) is not None
    assert lease.token == 1


def test_a_lease_that_ran_out_passes_to_the_next_under_a_higher_token(
    book: LeaseBook, time: DatabaseTime
) -> None:
    first = taken(book, "a")
    time.now_ms += LASTS_MS
    assert book.holder("leader") is None
    assert taken(book, "b").token == first.token + 1
    assert not book.renew(first, LASTS_MS)


def test_a_lease_that_is_renewed_stays(book: LeaseBook, time: DatabaseTime) -> None:
    lease = taken(book, "a")
    for _ in range(5):
        time.now_ms += LASTS_MS - 1
        assert book.renew(lease, LASTS_MS)
    assert book.take("leader", "b", LASTS_MS) is None


def test_a_late_holder_goes_on_while_nobody_else_came(book: LeaseBook, time: DatabaseTime) -> None:
    lease = taken(book, "a")
    time.now_ms += 10 * LASTS_MS
    assert book.renew(lease, LASTS_MS)
    assert book.take("leader", "b", LASTS_MS) is None


def test_a_holder_that_starts_again_has_it_at_once_and_its_former_self_no_longer(
    book: LeaseBook, database: Database
) -> None:
    former, again = taken(book, "a"), taken(book, "a")
    write(database, again, "again")
    with pytest.raises(LeaseLost):
        write(database, former, "former")
    assert written(database) == ["again"]


def test_a_released_lease_is_free_at_once(book: LeaseBook) -> None:
    book.release(taken(book, "a"))
    assert taken(book, "b").holder == "b"


def test_releasing_what_was_lost_takes_it_from_nobody(book: LeaseBook, time: DatabaseTime) -> None:
    first = taken(book, "a")
    time.now_ms += LASTS_MS
    taken(book, "b")
    book.release(first)
    assert book.holder("leader") == "b"


def test_whoever_has_lost_the_lease_writes_nothing(
    book: LeaseBook, database: Database, time: DatabaseTime
) -> None:
    first = taken(book, "a")
    write(database, first, "while it led")
    time.now_ms += LASTS_MS
    second = taken(book, "b")
    with pytest.raises(LeaseLost, match="b has"):
        write(database, first, "when it woke")
    with pytest.raises(LeaseLost):
        book.confirm(first)
    write(database, second, "by the next")
    book.confirm(second)
    assert written(database) == ["by the next", "while it led"]


def test_a_lease_that_nobody_ever_took_allows_nothing(database: Database) -> None:
    with pytest.raises(LeaseLost, match="nobody"):
        write(database, Lease("leader", "a", 1), "never")
    assert written(database) == []


def test_while_a_leader_writes_nobody_takes_over(
    book: LeaseBook, database: Database, database_url: str, time: DatabaseTime
) -> None:
    """The lease runs out in the middle of a transaction: whoever takes it comes after the transaction."""
    lease, other = taken(book, "a"), Database(database_url)
    seen: list[list[str]] = []

    def take_over() -> None:
        taken(LeaseBook(other, time), "b")
        seen.append(written(other))

    taking = threading.Thread(target=take_over)
    with database.guarded(lease.check).writing() as connection:
        time.now_ms += LASTS_MS
        taking.start()
        connection.execute(insert(cursors).values(source="in time", segment=1, offset_bytes=1))
        assert seen == []
    taking.join()
    assert seen == [["in time"]]
    other.close()


def test_of_many_that_want_it_at_once_one_gets_it(database: Database, database_url: str) -> None:
    others = [Database(database_url) for _ in range(4)]
    found: list[Lease | None] = []
    ready = threading.Barrier(len(others))

    def take(one: Database, holder: str) -> None:
        ready.wait()
        found.append(LeaseBook(one).take("leader", holder, 60_000))

    threads = [threading.Thread(target=take, args=(one, f"{n}")) for n, one in enumerate(others)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(lease is not None for lease in found) == 1
    for one in others:
        one.close()


def test_documents_are_replaced_or_made_once(database: Database) -> None:
    documents = Documents(database)
    assert documents.get("key") is None
    assert documents.put_first("key", "a") == "a"
    assert documents.put_first("key", "b") == "a"
    documents.put("state", "1")
    documents.put("state", "2")
    assert (documents.get("key"), documents.get("state")) == ("a", "2")
