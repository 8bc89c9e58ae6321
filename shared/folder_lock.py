"""One process at a time in a folder of append-only segments."""

import fcntl
import os
from pathlib import Path

from shared.errors import ConfigError

LOCK_FILE = "writer.lock"


def lock_folder(folder: Path, refusal: str) -> int:
    """Take the folder for this process, until it ends or closes the file descriptor that is returned.

    Args:
        refusal: what to say, with its cure, when another process has the folder.

    Raises:
        ConfigError: another process has it.
        OSError: the folder can't be written.
    """
    fd = os.open(folder / LOCK_FILE, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise ConfigError(refusal) from None
    return fd
