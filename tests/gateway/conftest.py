"""Databases that tests of keys run on: SQLite, and a real PostgreSQL server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.key_store import keys_url
from tests.gateway.postgresql_server import PostgresqlServer, programs, running_postgresql


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """One server for all tests; a machine that says that it is CI must have it installed."""
    folder = programs()
    if folder is None:
        words = "PostgreSQL is not installed here: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with running_postgresql(folder) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of keys with nothing in it."""
    if request.param == "sqlite":
        return keys_url(None, tmp_path)
    server: PostgresqlServer = request.getfixturevalue("postgresql")
    return server.new_database()
