"""What a doctor reads off the machine, from files that a test writes."""

import socket
from pathlib import Path

import httpx
import pytest

from shared.diagnosis_http import read_json
from shared.machine_facts import (
    available_memory_bytes,
    callable_host,
    installed_version,
    is_writable,
    pinned_versions,
    port_taken_by,
)

GIB = 1 << 30


@pytest.fixture
def meminfo(tmp_path: Path) -> Path:
    """A machine with 8 GiB available."""
    file = tmp_path / "meminfo"
    file.write_text(f"MemTotal: {16 << 20} kB\nMemAvailable:   {8 << 20} kB\n")
    return file


def cgroup(folder: Path, limit: str, current: int, inactive: int = 0) -> Path:
    """A container's memory accounting."""
    folder.mkdir()
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {inactive}\n")
    return folder


def test_available_memory_is_the_machines_without_a_container(meminfo: Path, tmp_path: Path) -> None:
    assert available_memory_bytes(meminfo, tmp_path / "none") == 8 * GIB
    assert available_memory_bytes(meminfo, cgroup(tmp_path / "free", "max", GIB)) == 8 * GIB


def test_a_containers_limit_counts_less_what_it_uses_and_could_not_give_up(
    meminfo: Path, tmp_path: Path
) -> None:
    group = cgroup(tmp_path / "group", str(4 * GIB), 3 * GIB, inactive=GIB)
    assert available_memory_bytes(meminfo, group) == 2 * GIB


def test_memory_is_unknown_where_nothing_says(tmp_path: Path) -> None:
    assert available_memory_bytes(tmp_path / "none", tmp_path / "none") is None


def test_a_port_that_is_listened_on_is_taken_and_free_afterwards() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert "another program" in str(port_taken_by("127.0.0.1", port))
    assert port_taken_by("127.0.0.1", port) is None


def test_a_server_on_every_address_is_called_on_loopback() -> None:
    assert [callable_host(host) for host in ("0.0.0.0", "::", "192.0.2.7")] == [
        "127.0.0.1",
        "::1",
        "192.0.2.7",
    ]


def test_a_folder_that_is_not_there_yet_is_judged_by_its_nearest_parent(tmp_path: Path) -> None:
    assert is_writable(tmp_path / "a" / "b")


def test_pins_are_read_with_extras_and_without_comments(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("# pins\n-e .\ntorch==2.13.0\npsycopg[binary]==3.3.9\nanything>=1\n")
    assert pinned_versions(file) == {"torch": "2.13.0", "psycopg": "3.3.9"}


def test_the_version_of_what_is_not_installed_is_none() -> None:
    assert installed_version("pytest")
    assert installed_version("no-such-package-anywhere") is None


async def test_what_answers_with_no_json_object_is_not_ours() -> None:
    for body in (b"<html>", b"[1]"):
        transport = httpx.MockTransport(lambda request, body=body: httpx.Response(200, content=body))
        answer = await read_json("http://127.0.0.1/health", transport)
        assert answer.body is None
        assert not answer.is_of("5F")
        assert "no process of this project" in answer.failure


async def test_a_degraded_process_still_says_who_it_is() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(503, json={"hotkey": "5F"}))
    answer = await read_json("http://127.0.0.1/health", transport)
    assert answer.is_of("5F")
    assert not answer.is_of("5G")
    assert not answer.is_of(None)
