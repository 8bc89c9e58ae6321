import shutil
import socket
from pathlib import Path

import pytest

from localnet import preflight
from localnet.errors import LocalnetError


def test_a_free_port_passes_and_a_taken_one_is_named_with_its_owner() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalnetError, match=f"port {port}, which the gateway needs"):
            preflight.check_ports({port: "the gateway"})
    preflight.check_ports({port: "the gateway"})


def test_too_little_memory_is_told_before_anything_starts() -> None:
    with pytest.raises(LocalnetError, match="3 miners need about"):
        preflight.check_memory(3, available_gib=8)
    preflight.check_memory(3, available_gib=16)


def test_a_second_auditor_needs_memory_too() -> None:
    preflight.check_memory(1, available_gib=7)
    with pytest.raises(LocalnetError, match="need about"):
        preflight.check_memory(1, available_gib=7, auditors=2)


def test_fewer_miners_need_less_memory() -> None:
    preflight.check_memory(1, available_gib=8)


def test_available_memory_is_read_from_the_kernels_table(tmp_path: Path) -> None:
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 9 kB\nMemAvailable:   2097152 kB\n")
    assert preflight.available_memory_gib(table) == 2.0


def test_too_little_disk_is_told_for_a_folder_that_does_not_exist_yet(tmp_path: Path) -> None:
    with pytest.raises(LocalnetError, match=r"1\.0 GiB of disk"):
        preflight.check_disk(tmp_path / "not" / "yet", free_gib=1.0)
    preflight.check_disk(tmp_path / "not" / "yet", free_gib=50.0)


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    preflight.check_compiler()
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(LocalnetError, match="install g\\+\\+"):
        preflight.check_compiler()
