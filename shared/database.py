"""A small SQL database: SQLite by default, PostgreSQL by URL, brought up to date when it is opened."""

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.schema import CreateColumn

from shared.errors import ConfigError

Migration = Callable[[Connection], None]
"""Step n brings a database from version n to n + 1. Steps are only ever added."""

Guard = Callable[[Connection], None]
"""Is called first in each writing transaction; when it raises, nothing is written."""

MIGRATION_LOCK = 0x9753D8A11B5E
"""Key of PostgreSQL's advisory lock under which one process at a time brings a database up to date."""

MOST_IDLE_MS = 10_000
"""After so long without a word from a process in a transaction, PostgreSQL ends it. Shorter than leases."""

_WRITING = "constantinople_writing"


class Database:
    """One database, opened and brought up to date.

    Calls block; make them from a thread. Writers of this process take turns, because SQLite has one
    writer at a time and a turn lasts less than a millisecond.
    """

    _guard: Guard | None = None

    @property
    def url(self) -> URL:
        """Where it is."""
        return self._engine.url

    def __init__(
        self, url: str, migrations: Sequence[Migration], version_table: str, flag: str = "--database"
    ) -> None:
        """Open `url`, an SQLAlchemy URL.

        Args:
            version_table: name of the table that holds the version; programs that share a database have
                one each.
            flag: what the URL is called where the operator gives it.

        Raises:
            ConfigError: it is not a database URL, can't be opened, or is of a newer version.
        """
        self._turn = threading.Lock()
        try:
            # A server that was restarted is noticed before a connection to it is used.
            self._engine = create_engine(url, pool_pre_ping=True)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _prepare_sqlite)
                event.listen(self._engine, "begin", _begin_sqlite)
            else:
                event.listen(self._engine, "connect", _prepare_server)
            self._writers = self._engine.execution_options(**{_WRITING: True})
            with self.writing() as connection:
                _lock_migrations(connection)
                _migrate(connection, migrations, version_table)
        except ArgumentError as error:
            raise ConfigError(f"{flag} {url!r} is not a database URL: {error}") from None
        except ModuleNotFoundError as error:
            raise ConfigError(f"{flag} needs the driver {error.name}: pip install {error.name}") from None
        except SQLAlchemyError as error:
            shown = make_url(url).render_as_string(hide_password=True)
            raise ConfigError(f"the database {shown} can't be opened: {error}") from None

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction: all of it or, after any exception or crash, nothing."""
        with self._turn, self._writers.begin() as connection:
            if self._guard is not None:
                self._guard(connection)
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries."""
        with self._engine.connect() as connection:
            yield connection

    def guarded(self, guard: Guard) -> Self:
        """The same database, whose writing transactions begin with `guard`."""
        other = copy.copy(self)
        other._guard = guard
        return other

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The driver's own transactions leave out the creation of tables, and begin only at the first write.
    connection.isolation_level = None
    # A write-ahead log lets readers go on during a write; synced at checkpoints, it survives kill -9.
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=NORMAL", "secure_delete=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _prepare_server(connection: Any, _: object) -> None:
    # A process that is stopped in a transaction, or whose machine is gone, keeps its locks for so long only.
    # (Not after a statement with a list of parameters, which psycopg sends as a pipeline: PostgreSQL 15 then
    # does not look at its clock. So rows are inserted in one statement.)
    with connection.cursor() as cursor:
        cursor.execute(f"SET idle_in_transaction_session_timeout = {MOST_IDLE_MS}")
    connection.commit()


def _begin_sqlite(connection: Connection) -> None:
    """A writer waits for its turn before it reads: what it has read can't change under it."""
    writes = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lock_migrations(connection: Connection) -> None:
    """Until the transaction ends, no other process brings the database up to date."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))


def _migrate(connection: Connection, migrations: Sequence[Migration], version_table: str) -> None:
    schema = Table(version_table, MetaData(), Column("version", Integer, nullable=False))
    schema.create(connection, checkfirst=True)
    found = connection.execute(select(schema.c.version)).scalar()
    if found is None:
        connection.execute(insert(schema).values(version=0))
    version = found or 0
    if version > len(migrations):
        raise ConfigError(
            f"the database has version {version}, this program knows {len(migrations)}: update the program"
        )
    for step in migrations[version:]:
        step(connection)
    connection.execute(update(schema).values(version=len(migrations)))


def add_column(connection: Connection, column: "Column[Any]") -> None:
    """As a step of a migration: add a column to its table, unless a newer first step has made it already."""
    table = column.table.name
    if column.name in {found["name"] for found in inspect(connection).get_columns(table)}:
        return
    definition = str(CreateColumn(column).compile(dialect=connection.dialect))
    connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {definition}")


def now_ms(connection: Connection) -> int:
    """Milliseconds of Unix time by the clock of the database, which is the same for all that share it."""
    clock = _CLOCKS[connection.dialect.name]
    return int(connection.exec_driver_sql(clock).scalar_one())


_CLOCKS: Mapping[str, str] = {
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    "postgresql": "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT)",
}

_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_or_update(connection: Connection, table: Table) -> Any:
    """An INSERT that can say what happens `on_conflict_…`, in the words of the connection's database."""
    return _INSERTS[connection.dialect.name](table)


def is_away(error: DBAPIError) -> bool:
    """Whether the server or the connection failed, so that the same may succeed later."""
    return isinstance(error, OperationalError) or error.connection_invalidated


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite file; its folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{file}"
