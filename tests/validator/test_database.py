import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import insert, select

from shared.errors import ConfigError
from validator.database import MIGRATIONS, Database, cursors, epochs, sqlite_url, verdicts
from validator.epoch_state import EpochState


def test_a_new_database_has_the_newest_version(tmp_path: Path) -> None:
    Database(sqlite_url(tmp_path / "state" / "audit.sqlite")).close()
    with sqlite3.connect(tmp_path / "state" / "audit.sqlite") as connection:
        assert connection.execute("SELECT version FROM schema_version").fetchall() == [(len(MIGRATIONS),)]


def test_opening_again_keeps_what_was_stored(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "audit.sqlite")
    first = Database(url)
    with first.writing() as connection:
        connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
    first.close()
    second = Database(url)
    with second.reading() as connection:
        assert connection.execute(select(cursors.c.offset_bytes)).scalars().all() == [2]
    second.close()


def test_a_database_of_the_first_version_begins_anew_and_keeps_its_place_in_the_log(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "audit.sqlite")
    first = Database(url)
    with first.writing() as connection:
        connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
        connection.execute(insert(epochs).values(number=7, state="open", opened_at_ms=1, ends_at_ms=2))
    first.close()
    with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
        connection.execute("ALTER TABLE verdicts DROP COLUMN log_e")
        connection.execute("UPDATE schema_version SET version = 1")
    second = Database(url)
    with second.reading() as connection:
        assert connection.execute(select(verdicts.c.log_e)).all() == []
        assert connection.execute(select(epochs.c.number)).all() == []
        assert connection.execute(select(cursors.c.offset_bytes)).scalars().all() == [2]
    second.close()


def test_a_database_without_families_begins_anew_and_keeps_its_numbers(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "audit.sqlite")
    first = Database(url)
    with first.writing() as connection:
        for number, state in ((6, "published"), (7, "scored")):
            values = {"summary": "{}", "summary_digest": "00", "opened_at_ms": 1, "ends_at_ms": 2}
            connection.execute(insert(epochs).values(number=number, state=state, **values))
        connection.execute(insert(epochs).values(number=8, state="open", opened_at_ms=2, ends_at_ms=3))
        one = {
            "request_id": "a",
            "miner_hotkey": "b",
            "epoch": 8,
            "outcome": "pass",
            "log_e": 0.0,
            "body": "",
        }
        connection.execute(insert(verdicts).values(one))
    first.close()
    with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
        connection.execute("UPDATE schema_version SET version = 3")
    second = Database(url)
    with second.reading() as connection:
        assert connection.execute(select(verdicts.c.body)).all() == []
        kept = connection.execute(select(epochs.c.number, epochs.c.state, epochs.c.summary)).all()
        assert sorted(map(tuple, kept)) == [(6, "published", None), (7, "published", None), (8, "open", None)]
    assert EpochState(second).sealed() is None
    assert EpochState(second).oldest_unpublished() is None
    assert EpochState(second).open_next(3, 4) == 9
    second.close()


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "audit.sqlite"))

    def fail_halfway() -> None:
        with database.writing() as connection:
            connection.execute(insert(cursors).values(source="a", segment=1, offset_bytes=2))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    with database.reading() as connection:
        assert connection.execute(select(cursors)).all() == []
    database.close()


def test_a_database_of_a_newer_program_is_refused(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "audit.sqlite")
    Database(url).close()
    with sqlite3.connect(tmp_path / "audit.sqlite") as connection:
        connection.execute("UPDATE schema_version SET version = 99")
    with pytest.raises(ConfigError, match="version 99"):
        Database(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("not a url", "not a database URL"),
        ("sqlite:////no/such/folder/audit.sqlite", "can't be opened"),
        ("nosuchdatabase://host/name", "not a database URL"),
    ],
)
def test_a_useless_url_is_refused_in_words(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Database(url)


def test_a_damaged_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "audit.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(ConfigError, match="can't be opened"):
        Database(sqlite_url(tmp_path / "audit.sqlite"))
