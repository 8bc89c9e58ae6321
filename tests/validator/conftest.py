from collections.abc import Iterator
from pathlib import Path

import pytest

from localnet.postgresql import NewDatabases
from validator.database import Database, sqlite_url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with nothing in it: an SQLite file, and one on a real PostgreSQL server."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "audit.sqlite")
    databases: NewDatabases = request.getfixturevalue("postgresql")
    return databases.url()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty state."""
    opened = Database(database_url)
    yield opened
    opened.close()
