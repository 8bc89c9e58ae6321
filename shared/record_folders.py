"""Where a gateway's record logs are: one folder, or one for each of its worker processes inside it."""

import re
from pathlib import Path

_WORKER = re.compile(r"^worker-\d{2}$")


def records_folder(state_dir: Path) -> Path:
    """The folder of a gateway's records; a gateway that is one process writes there."""
    return state_dir.expanduser() / "records"


def worker_name(number: int) -> str:
    """What the log of worker `number`, from 1 to 99, is called."""
    return f"worker-{number:02d}"


def worker_folder(records: Path, number: int) -> Path:
    """Where worker `number` writes."""
    return records / worker_name(number)


def worker_folders(records: Path) -> list[Path]:
    """The folders of workers that exist, in their order."""
    if not records.is_dir():
        return []
    return sorted(entry for entry in records.iterdir() if _WORKER.match(entry.name) and entry.is_dir())
