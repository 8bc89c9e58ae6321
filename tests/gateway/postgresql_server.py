"""A real PostgreSQL server in a folder of its own, reached through a socket in that folder."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

HANG_S = 60.0
INSTALLED = "/usr/lib/postgresql"
"""Where Debian keeps the server's programs, which are on nobody's PATH."""

UNPRIVILEGED = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
"""initdb refuses to run as root."""


def programs() -> Path | None:
    """The folder of initdb and postgres; None where PostgreSQL is not installed."""
    found = sorted(Path(INSTALLED).glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    on_path = shutil.which("initdb")
    initdb = found[-1] if found else Path(on_path) if on_path else None
    return initdb.resolve().parent if initdb else None


@dataclass
class PostgresqlServer:
    """A running server."""

    folder: Path

    def __post_init__(self) -> None:
        self._numbers = count(1)

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.folder}"

    def new_database(self) -> str:
        """The URL of a database with nothing in it."""
        name = f"test_{next(self._numbers)}"
        with self._connected() as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def _connected(self) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(host=str(self.folder), user="postgres", dbname="postgres", autocommit=True)


@contextmanager
def running_postgresql(folder_of_programs: Path) -> Iterator[PostgresqlServer]:
    """A server that is stopped and deleted at the end."""
    root = os.geteuid() == 0
    prefix = UNPRIVILEGED if root else ()
    folder = Path(tempfile.mkdtemp(prefix="constantinople-pg-"))
    if root:
        shutil.chown(folder, "nobody", "nogroup")
    data, log = folder / "data", folder / "log"
    initdb = [
        *(*prefix, str(folder_of_programs / "initdb"), "-D", str(data), "-U", "postgres"),
        *("-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"),
    ]
    postgres = [
        *(*prefix, str(folder_of_programs / "postgres"), "-D", str(data), "-k", str(folder)),
        *("-c", "listen_addresses=", "-c", "fsync=off"),
    ]
    try:
        subprocess.run(initdb, check=True, capture_output=True, timeout=HANG_S, cwd=folder)
        with log.open("wb") as output:
            process = subprocess.Popen(postgres, stdout=output, stderr=output, cwd=folder)
        try:
            _wait_until_ready(folder_of_programs, folder, process)
            yield PostgresqlServer(folder)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(HANG_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(folder_of_programs: Path, folder: Path, process: "subprocess.Popen[bytes]") -> None:
    ready = [str(folder_of_programs / "pg_isready"), "-h", str(folder), "-t", "1"]
    for _ in range(int(HANG_S) * 10):
        if process.poll() is not None:
            raise RuntimeError((folder / "log").read_text())
        if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
            return
        _wait_a_moment(process)
    raise RuntimeError(f"PostgreSQL is not ready after many tries: {(folder / 'log').read_text()}")


def _wait_a_moment(process: "subprocess.Popen[bytes]") -> None:
    """Give the server a moment, or notice that it has ended."""
    try:
        process.wait(0.1)
    except subprocess.TimeoutExpired:
        return
