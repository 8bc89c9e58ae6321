"""What clients use: counted at once, stored a moment later, and still there after a restart."""

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from gateway.key_store import open_key_database
from gateway.usage_book import UsageBook
from gateway.usage_store import UsageKey, UsageStore, Used
from shared.database import Database
from tests.gateway.running_gateway import FakeClock

DAY_S = 86_400
ONE = Used(1, 10, 5)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_key_database(database_url)
    yield opened
    opened.close()


def book(database: Database, clock: FakeClock) -> UsageBook:
    made = UsageBook(UsageStore(database), clock)
    made.load()
    return made


async def test_use_is_counted_at_once_and_once(database: Database) -> None:
    counted = book(database, FakeClock())
    counted.count("a", "m", ONE)
    counted.count("a", "other", ONE)
    counted.count("b", "m", ONE)
    assert counted.tokens_today("a") == 30
    for _ in range(3):
        await counted.flush()
        assert counted.tokens_today("a") == 30
    counted.count("a", "m", ONE)
    assert counted.tokens_today("a") == 45
    await counted.flush()
    stored = UsageStore(database).since("2000-01-01")
    assert stored[UsageKey(counted.today(), "a", "m")] == ONE + ONE
    assert len(stored) == 3


async def test_use_survives_a_restart(database: Database) -> None:
    clock = FakeClock()
    first = book(database, clock)
    first.count("a", "m", ONE)
    await first.flush()
    assert book(database, clock).tokens_today("a") == 15


async def test_gateways_that_share_a_database_add_up(database: Database) -> None:
    clock = FakeClock()
    one, other = book(database, clock), book(database, clock)
    one.count("a", "m", ONE)
    other.count("a", "m", ONE)
    await one.flush()
    await other.flush()
    assert other.tokens_today("a") == 30
    await one.flush()
    assert one.tokens_today("a") == 30


async def test_the_next_day_begins_at_nothing(database: Database) -> None:
    clock = FakeClock()
    counted = book(database, clock)
    counted.count("a", "m", ONE)
    await counted.flush()
    clock.advance(DAY_S)
    assert counted.tokens_today("a") == 0
    counted.count("a", "m", ONE)
    await counted.flush()
    assert counted.tokens_today("a") == 15
    assert len(UsageStore(database).since("2000-01-01")) == 2


async def test_what_waits_over_midnight_counts_for_the_day_before(database: Database) -> None:
    clock = FakeClock()
    counted = book(database, clock)
    counted.count("a", "m", ONE)
    clock.advance(DAY_S)
    await counted.flush()
    assert counted.tokens_today("a") == 0


def test_reserved_tokens_count_until_they_are_released(database: Database) -> None:
    counted = book(database, FakeClock())
    counted.reserve("a", 100)
    counted.reserve("a", 20)
    assert counted.tokens_today("a") == 120
    counted.release("a", 100)
    counted.release("a", 20)
    assert counted.tokens_today("a") == 0


class Away(UsageStore):
    """A store whose database is away."""

    def add(self, counts: object) -> None:
        raise OperationalError("INSERT", {}, Exception("away"))


class CanNotRead(UsageStore):
    """A store that takes counts and gives none."""

    def tokens_on(self, day: str) -> dict[str, int]:
        raise OperationalError("SELECT", {}, Exception("away"))


@pytest.mark.parametrize("kind", [Away, CanNotRead])
async def test_a_database_that_fails_loses_no_count_and_doubles_none(
    database: Database,
    kind: type[UsageStore],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    counted = book(database, FakeClock())
    counted.count("a", "m", ONE)
    monkeypatch.setattr(counted, "_store", kind(database))
    await counted.flush()
    counted.count("a", "m", ONE)
    await counted.flush()
    assert counted.tokens_today("a") == 30
    assert caplog.text.count("can't be stored") == 1
    monkeypatch.undo()
    await counted.flush()
    assert counted.tokens_today("a") == 30
    assert UsageStore(database).tokens_on(counted.today()) == {"a": 30}


def test_usage_is_listed_by_day_and_client(database: Database) -> None:
    store = UsageStore(database)
    days = ["2026-01-01", "2026-01-02"]
    store.add({UsageKey(day, client, "m"): ONE for day in days for client in "ba"})
    assert [(key.day, key.client) for key in store.since("2026-01-01")] == [
        (day, client) for day in days for client in "ab"
    ]
    assert [key.day for key in store.since("2026-01-02", "a")] == ["2026-01-02"]
    assert store.since("2026-01-03") == {}
