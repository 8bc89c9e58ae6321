"""Databases that tests of keys run on: SQLite, and a real PostgreSQL server."""

from pathlib import Path

import pytest

from gateway.key_store import keys_url
from localnet.postgresql import NewDatabases


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of keys with nothing in it."""
    if request.param == "sqlite":
        return keys_url(None, tmp_path)
    databases: NewDatabases = request.getfixturevalue("postgresql")
    return databases.url()
