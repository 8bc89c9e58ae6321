"""The auditor's small mutable state as SQL tables: SQLite by default, PostgreSQL by URL."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    create_engine,
    event,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from shared.errors import ConfigError

TABLES = MetaData()

schema = Table("schema_version", TABLES, Column("version", Integer, nullable=False))

cursors = Table(
    "cursors",
    TABLES,
    Column("source", Text, primary_key=True),
    Column("segment", BigInteger, nullable=False),
    Column("offset_bytes", BigInteger, nullable=False),
)

requests = Table(
    "requests",
    TABLES,
    Column("request_id", Text, primary_key=True),
    Column("miner_hotkey", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("finished_at_ms", BigInteger, nullable=False),
    Column("facts", Text, nullable=False),
    # The gateway's whole record, text included, only until the epoch is scored.
    Column("record", Text),
    Column("auditable", Boolean, nullable=False),
    Column("challenge_block", BigInteger),
    Column("challenge_block_hash", Text),
    Column("challenge_block_ms", BigInteger),
    Column("draw", Float(53)),
    Index("requests_by_draw", "epoch", "draw"),
)

verdicts = Table(
    "verdicts",
    TABLES,
    Column("request_id", Text, primary_key=True),
    Column("miner_hotkey", Text, primary_key=True),
    Column("epoch", Integer, nullable=False, index=True),
    Column("outcome", Text, nullable=False),
    # What the audit adds to the sequential test; the body holds the same number.
    Column("log_e", Float(53), nullable=False),
    Column("body", Text, nullable=False),
)

epochs = Table(
    "epochs",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("opened_at_ms", BigInteger, nullable=False),
    Column("ends_at_ms", BigInteger, nullable=False),
    Column("closed_at_ms", BigInteger),
    Column("summary", Text),
    Column("summary_digest", Text),
)

weights = Table(
    "weights",
    TABLES,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("entries", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("sent_at_block", BigInteger),
)

followed = Table(
    "followed",
    TABLES,
    Column("publisher", Text, primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("summary", Text, nullable=False),
)


def _create_first_tables(connection: Connection) -> None:
    TABLES.create_all(connection)


def _begin_anew_with_evidence(connection: Connection) -> None:
    """Version 1 had verdicts without e-values, from which nothing can go on: epochs begin anew."""
    if "log_e" not in {column["name"] for column in inspect(connection).get_columns("verdicts")}:
        for table in (verdicts, epochs, requests, weights, followed):
            table.drop(connection)
        TABLES.create_all(connection)


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create_first_tables, _begin_anew_with_evidence)
"""Step n brings a database from version n to n + 1. Steps are only ever added."""


class Database:
    """One database, opened and brought up to date.

    Calls block; make them from a thread. Writers of this process take turns, because SQLite has one
    writer at a time and a turn lasts less than a millisecond.
    """

    def __init__(self, url: str) -> None:
        """Open `url`, an SQLAlchemy URL.

        Raises:
            ConfigError: it is not a database URL, can't be opened, or is of a newer version.
        """
        self._turn = threading.Lock()
        try:
            self._engine = create_engine(url)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _prepare_sqlite)
            with self.writing() as connection:
                _migrate(connection)
        except ArgumentError as error:
            raise ConfigError(f"--database {url!r} is not a database URL: {error}") from None
        except ModuleNotFoundError as error:
            raise ConfigError(f"--database needs the driver {error.name}: pip install {error.name}") from None
        except SQLAlchemyError as error:
            shown = make_url(url).render_as_string(hide_password=True)
            raise ConfigError(f"the database {shown} can't be opened: {error}") from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: all of it or, after any exception or crash, nothing."""
        with self._turn, self._engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries."""
        with self._engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _prepare_sqlite(connection: Any, _: object) -> None:
    # A write-ahead log lets readers go on during a write; synced at checkpoints, it survives kill -9.
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(connection: Connection) -> None:
    schema.create(connection, checkfirst=True)
    found = connection.execute(select(schema.c.version)).scalar()
    if found is None:
        connection.execute(insert(schema).values(version=0))
    version = found or 0
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"the database has version {version}, this program knows {len(MIGRATIONS)}: update the program"
        )
    for step in MIGRATIONS[version:]:
        step(connection)
    connection.execute(update(schema).values(version=len(MIGRATIONS)))


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite file; its folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{file}"
