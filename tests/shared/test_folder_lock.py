import os
import subprocess
import sys
from pathlib import Path

import pytest

from localnet.config import PROJECT_ROOT
from shared.errors import ConfigError
from shared.folder_lock import LOCK_FILE, lock_folder


def test_a_second_writer_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    first = lock_folder(tmp_path, "taken")
    with pytest.raises(ConfigError, match=r"^somebody has it; wait$"):
        lock_folder(tmp_path, "somebody has it; wait")
    os.close(first)
    os.close(lock_folder(tmp_path, "taken"))


def test_another_process_is_refused_and_one_that_ended_is_no_obstacle(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from shared.folder_lock import lock_folder\n"
        "lock_folder(Path(sys.argv[1]), 'taken')"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode == 0
    held = lock_folder(tmp_path, "taken")
    result = subprocess.run(command, cwd=PROJECT_ROOT, check=False, capture_output=True, text=True)
    os.close(held)
    assert result.returncode == 1
    assert "ConfigError: taken" in result.stderr


def test_folders_are_locked_each_for_itself(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for fd in [lock_folder(tmp_path / name, "taken") for name in ("one", "two")]:
        os.close(fd)
    assert (tmp_path / "one" / LOCK_FILE).stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_folder(tmp_path / "none", "taken")
