"""The server that several share: prepared once, found where it is installed, gone when it is told to end."""

from pathlib import Path

from localnet.postgresql import NewDatabases, PostgresqlServer, programs


def test_the_newest_installed_version_is_taken(tmp_path: Path) -> None:
    for version in ("9", "15", "14"):
        folder = tmp_path / version / "bin"
        folder.mkdir(parents=True)
        (folder / "initdb").touch()
    assert programs(tmp_path) == tmp_path / "15" / "bin"


def test_a_server_listens_on_no_port() -> None:
    command = PostgresqlServer(Path("/programs"), Path("/folder")).command
    assert "listen_addresses=" in command


def test_a_data_folder_that_is_there_is_kept(postgresql: NewDatabases) -> None:
    server = postgresql.server
    before = server.is_ready()
    server.prepare()
    assert before
    assert server.is_ready()


def test_each_new_database_is_another(postgresql: NewDatabases) -> None:
    assert postgresql.url() != postgresql.url()
