from collections.abc import Iterator
from pathlib import Path

import pytest

from validator.database import Database, sqlite_url


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty state."""
    opened = Database(sqlite_url(tmp_path / "audit.sqlite"))
    yield opened
    opened.close()
