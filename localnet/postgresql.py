"""A PostgreSQL server of one's own, from the system's programs: a folder with a socket, and no port."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

from localnet.errors import LocalnetError

HANG_S = 60.0
POLL_S = 0.1
INSTALLED = "/usr/lib/postgresql"
"""Where Debian keeps the server's programs, which are on nobody's PATH."""

USER = "postgres"

_UNPRIVILEGED = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--pdeathsig=INT", "--")
"""The programs refuse to run as root. The kernel forgets what ends a process with its parent when its user
changes, so that this is said again."""


def programs(installed: Path = Path(INSTALLED)) -> Path | None:
    """The folder of initdb and postgres; None where PostgreSQL is not installed."""
    found = sorted(installed.glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    on_path = shutil.which("initdb")
    initdb = found[-1] if found else Path(on_path) if on_path else None
    return initdb.resolve().parent if initdb else None


@dataclass(frozen=True)
class PostgresqlServer:
    """A server, running or not.

    Attributes:
        programs: folder of the server's programs.
        folder: of its data, its log and its socket.
    """

    programs: Path
    folder: Path

    def prepare(self) -> None:
        """Make the data folder; one that is there already is kept.

        Raises:
            LocalnetError: it can't be made.
        """
        if (self._data / "PG_VERSION").exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "nobody", "nogroup")
        command = [
            *(*_prefix(), str(self.programs / "initdb"), "-D", str(self._data), "-U", USER),
            *("-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"),
        ]
        made = subprocess.run(command, check=False, capture_output=True, timeout=HANG_S, cwd="/", text=True)
        if made.returncode:
            raise LocalnetError(
                f"PostgreSQL can't keep its data in {self.folder}: {made.stderr.strip()}; "
                "choose a folder that every user can reach"
            )

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def command(self) -> list[str]:
        """The command line of the server, which listens on its socket alone."""
        return [
            *(*_prefix(), str(self.programs / "postgres"), "-D", str(self._data), "-k", str(self.folder)),
            *("-c", "listen_addresses=", "-c", "fsync=off"),
        ]

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of its database."""
        return f"postgresql+psycopg://{USER}@/{USER}?host={self.folder}"

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        command = [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder), "-U", USER]
        return subprocess.run(command, check=False, timeout=HANG_S).returncode == 0


def _prefix() -> tuple[str, ...]:
    return _UNPRIVILEGED if os.geteuid() == 0 else ()


class NewDatabases:
    """Makes databases with nothing in them: schemas on a running server, 7 MB smaller."""

    def __init__(self, server: PostgresqlServer) -> None:
        self.server, self._numbers = server, count(1)

    def url(self) -> str:
        """The URL of one that nobody has used."""
        import psycopg

        name = f"test_{next(self._numbers)}"
        folder = str(self.server.folder)
        with psycopg.connect(host=folder, user=USER, dbname=USER, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}".encode())
        return f"{self.server.url}&options=-csearch_path%3D{name}"


@contextmanager
def running_postgresql(folder_of_programs: Path) -> Iterator[PostgresqlServer]:
    """A server that is stopped and deleted at the end."""
    folder = Path(mkdtemp(prefix="constantinople-pg-"))
    server = PostgresqlServer(folder_of_programs, folder)
    log = folder / "log"
    try:
        server.prepare()
        with log.open("wb") as output:
            process = subprocess.Popen(server.command, stdout=output, stderr=output, cwd="/")
        try:
            _wait_until_ready(server, process, log)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(HANG_S)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(server: PostgresqlServer, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(int(HANG_S / POLL_S)):
        if process.poll() is not None:
            raise LocalnetError(f"PostgreSQL does not start: {log.read_text()}")
        if server.is_ready():
            return
        _wait_a_moment(process)
    raise LocalnetError(f"PostgreSQL is not ready after many tries: {log.read_text()}")


def _wait_a_moment(process: "subprocess.Popen[bytes]") -> None:
    """Give the server a moment, or notice that it has ended."""
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return
