"""The auditor's database on SQLite and on PostgreSQL: opened, brought up to date, shared."""

import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, insert, select, text
from sqlalchemy.engine import Connection

from shared.database import MOST_IDLE_MS, add_column, now_ms
from shared.database import Database as SqlDatabase
from shared.errors import ConfigError
from validator.database import (
    MIGRATIONS,
    TABLES,
    Database,
    cursors,
    epochs,
    requests,
    rounds,
    sqlite_url,
    verdicts,
)
from validator.epoch_state import EpochState
from validator.leadership import LeaseTimes

OLDER = Path(__file__).with_name("older_databases")
VERSIONS = range(1, len(MIGRATIONS))
"""Schemas as the programs of their time made them."""


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Past the program, as another one would write."""
    engine = create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def make_older(url: str, version: int) -> None:
    """A database of an older program, in the middle of its work."""
    with connected(url) as connection:
        for statement in (OLDER / f"version_{version}.sql").read_text().split(";"):
            if statement.strip():
                connection.execute(text(statement))
        connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
        for number, state in ((6, "published"), (7, "scored"), (8, "open")):
            values = {"opened_at_ms": 1, "ends_at_ms": 2, "summary": None if state == "open" else "{}"}
            connection.execute(insert(epochs).values(number=number, state=state, **values))
        request = "INSERT INTO requests (request_id, miner_hotkey, epoch, finished_at_ms, facts, auditable)"
        connection.execute(text(f"{request} VALUES ('r', 'm', 8, 1, '{{}}', true)"))
        added = ("log_e, ", "0, ") if version > 1 else ("", "")
        verdict = f"INSERT INTO verdicts (request_id, miner_hotkey, epoch, outcome, {added[0]}body)"
        connection.execute(text(f"{verdict} VALUES ('r', 'm', 8, 'pass', {added[1]}'')"))


def version_of(url: str) -> int:
    with connected(url) as connection:
        return int(connection.execute(text("SELECT version FROM schema_version")).scalar_one())


def open_and_close(url: str) -> None:
    Database(url).close()


def test_a_new_database_has_the_newest_version(database_url: str) -> None:
    Database(database_url).close()
    assert version_of(database_url) == len(MIGRATIONS)


def test_opening_again_keeps_what_was_stored(database_url: str) -> None:
    first = Database(database_url)
    with first.writing() as connection:
        connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
    first.close()
    second = Database(database_url)
    with second.reading() as connection:
        assert connection.execute(select(cursors.c.offset_bytes)).scalars().all() == [2]
    second.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_every_older_version_is_brought_up_to_date_and_keeps_its_place_in_the_log(
    database_url: str, version: int
) -> None:
    make_older(database_url, version)
    database = Database(database_url)
    assert version_of(database_url) == len(MIGRATIONS)
    with database.reading() as connection:
        assert connection.execute(select(cursors.c.offset_bytes)).scalars().all() == [2]
        for table in TABLES.sorted_tables:
            connection.execute(select(table)).all()
    assert EpochState(database).open_next(3, 4) == (1 if version == 1 else 9)
    database.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_several_processes_may_bring_one_database_up_to_date_at_once(database_url: str, version: int) -> None:
    make_older(database_url, version)
    _open_at_once(database_url)


def test_several_processes_may_make_one_database_at_once(database_url: str) -> None:
    _open_at_once(database_url)


def _open_at_once(url: str) -> None:
    context = multiprocessing.get_context("fork")
    opening = [context.Process(target=open_and_close, args=(url,)) for _ in range(4)]
    for process in opening:
        process.start()
    for process in opening:
        process.join()
    assert [process.exitcode for process in opening] == [0] * 4
    assert version_of(url) == len(MIGRATIONS)


def test_a_program_that_dies_while_it_brings_a_database_up_to_date_leaves_the_old_one(
    database_url: str,
) -> None:
    def dies(connection: Connection) -> None:
        rounds.create(connection)
        add_column(connection, verdicts.c.auditor)
        raise KeyboardInterrupt

    make_older(database_url, 1)
    with pytest.raises(KeyboardInterrupt):
        SqlDatabase(database_url, (MIGRATIONS[0], dies), "schema_version")
    assert version_of(database_url) == 1
    with connected(database_url) as connection:
        assert not connection.dialect.has_table(connection, "rounds")
        assert connection.execute(text("SELECT * FROM verdicts")).first() is not None
    Database(database_url).close()
    assert version_of(database_url) == len(MIGRATIONS)


def test_a_database_of_the_first_version_begins_anew(database_url: str) -> None:
    make_older(database_url, 1)
    database = Database(database_url)
    with database.reading() as connection:
        assert connection.execute(select(verdicts.c.log_e)).all() == []
        assert connection.execute(select(epochs.c.number)).all() == []
    database.close()


@pytest.mark.parametrize("version", [3, 4])
def test_a_database_without_families_begins_anew_and_keeps_its_numbers(
    database_url: str, version: int
) -> None:
    make_older(database_url, version)
    database = Database(database_url)
    with database.reading() as connection:
        assert connection.execute(select(verdicts.c.body)).all() == []
        kept = connection.execute(select(epochs.c.number, epochs.c.state, epochs.c.summary)).all()
        assert sorted(map(tuple, kept)) == [(6, "published", None), (7, "published", None), (8, "open", None)]
    assert EpochState(database).sealed() is None
    assert EpochState(database).oldest_unpublished() is None
    database.close()


def test_requests_and_verdicts_of_a_lone_auditor_go_on_among_several(database_url: str) -> None:
    make_older(database_url, 5)
    database = Database(database_url)
    with database.reading() as connection:
        leased = connection.execute(select(requests.c.lease_token, requests.c.lease_until_ms)).all()
        assert list(map(tuple, leased)) == [(0, 0)]
        assert connection.execute(select(verdicts.c.auditor)).scalars().all() == [None]
    database.close()


def test_a_failed_transaction_leaves_nothing(database: Database) -> None:
    def fail_halfway() -> None:
        with database.writing() as connection:
            connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    with database.reading() as connection:
        assert connection.execute(select(cursors)).all() == []


def test_a_guard_that_objects_keeps_anything_from_being_written(database: Database) -> None:
    def objects(connection: Connection) -> None:
        raise PermissionError

    def write(to: Database) -> None:
        with to.writing() as connection:
            connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))

    with pytest.raises(PermissionError):
        write(database.guarded(objects))
    with database.guarded(objects).reading() as connection:
        assert connection.execute(select(cursors)).all() == []
    write(database)


def test_what_a_writer_has_read_stays_so_until_it_has_written(tmp_path: Path) -> None:
    """On SQLite a writer takes its turn before it reads. (PostgreSQL locks rows.)"""
    database = Database(sqlite_url(tmp_path / "audit.sqlite"))
    with database.writing() as connection:
        connection.execute(select(cursors)).all()
        other = sqlite3.connect(tmp_path / "audit.sqlite", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("INSERT INTO cursors VALUES ('b', 1, 1)")
        other.close()
        connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
    database.close()


def test_a_process_that_is_stopped_in_a_transaction_does_not_keep_its_locks(
    database: Database,
) -> None:
    with database.reading() as connection:
        if connection.dialect.name == "postgresql":
            shown = connection.execute(text("SHOW idle_in_transaction_session_timeout")).scalar_one()
            assert shown == f"{MOST_IDLE_MS // 1000}s"
    assert LeaseTimes().lasts_ms > MOST_IDLE_MS


def test_the_clock_of_the_database_goes_forward(database: Database) -> None:
    with database.reading() as connection:
        first = now_ms(connection)
        assert 1_700_000_000_000 < first <= now_ms(connection)


def test_a_database_of_a_newer_program_is_refused(database_url: str) -> None:
    Database(database_url).close()
    with connected(database_url) as connection:
        connection.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(ConfigError, match="version 99"):
        Database(database_url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "not a database URL"),
        ("sqlite:////no/such/folder/audit.sqlite", "can't be opened"),
        ("nosuchdatabase://host/name", "not a database URL"),
        ("postgresql+psycopg://nobody@/nothing?host=/no/such/folder", "can't be opened"),
    ],
)
def test_a_useless_url_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Database(url)


def test_a_damaged_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "audit.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="can't be opened"):
        Database(sqlite_url(tmp_path / "audit.sqlite"))
