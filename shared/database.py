"""A small SQL database: SQLite by default, PostgreSQL by URL, brought up to date when it is opened."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, Table, create_engine, event, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from shared.errors import ConfigError

Migration = Callable[[Connection], None]
"""Step n brings a database from version n to n + 1. Steps are only ever added."""


class Database:
    """One database, opened and brought up to date.

    Calls block; make them from a thread. Writers of this process take turns, because SQLite has one
    writer at a time and a turn lasts less than a millisecond.
    """

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
            self._engine = create_engine(url)
            if self._engine.dialect.name == "sqlite":
                event.listen(self._engine, "connect", _prepare_sqlite)
            with self.writing() as connection:
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


_INSERTS: Mapping[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


def insert_or_update(connection: Connection, table: Table) -> Any:
    """An INSERT that can say what happens `on_conflict_…`, in the words of the connection's database."""
    return _INSERTS[connection.dialect.name](table)


def sqlite_url(file: Path) -> str:
    """The URL of an SQLite file; its folder is created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{file}"
