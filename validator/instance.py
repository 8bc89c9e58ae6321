"""Which of all auditors this process is: its state folder is its own, and names it at every start."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import ConfigError
from shared.folder_lock import lock_folder

FOLDER = "auditor"
_ID_FILE = "id"


@contextmanager
def own_instance(state_folder: Path) -> Iterator[str]:
    """The id of this installation; no other auditor can use its state folder meanwhile.

    Raises:
        ConfigError: another auditor does, or the folder can't be written.
    """
    folder = state_folder / FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(
            folder, f"another auditor runs with --state-dir {state_folder}; give each one a folder of its own"
        )
    except OSError as error:
        raise ConfigError(f"{folder} can't be written: {error}; choose another --state-dir") from None
    try:
        yield _id_of(folder / _ID_FILE)
    finally:
        os.close(lock)


def _id_of(file: Path) -> str:
    try:
        if not file.exists():
            new = file.with_suffix(".new")
            new.write_text(secrets.token_hex(8))
            new.replace(file)
        return file.read_text()
    except OSError as error:
        raise ConfigError(f"{file} can't be read or made: {error}; check --state-dir") from None
