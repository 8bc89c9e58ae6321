"""The manifest of an epoch: its files with their columns, for whoever reads them without this program."""

import os
import subprocess
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shared.canonical import canonical_json
from shared.dataset import ColumnNote, FileDigest, FileNote, Manifest
from validator.dataset_columns import DESCRIPTIONS
from validator.epoch_tables import FORMATS

REVISION_VARIABLE = "CONSTANTINOPLE_REVISION"
"""Set in images, which have no repository to ask."""

_GIT_DEADLINE_S = 10.0


@lru_cache(maxsize=1)
def code_revision() -> str:
    """What this program is: the variable, the repository's commit, or the package's version."""
    stated = os.environ.get(REVISION_VARIABLE, "")[:64]
    return stated or _commit() or _version()


def _commit() -> str:
    command = ["git", "rev-parse", "HEAD"]
    folder = Path(__file__).resolve().parent
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, timeout=_GIT_DEADLINE_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.decode(errors="replace").strip()[:64]


def _version() -> str:
    try:
        return version("constantinople")
    except PackageNotFoundError:
        return "unknown"


def manifest_bytes(
    epoch: int, day: str, files: Sequence[FileDigest], records: int, root: str, revision: str
) -> bytes:
    """The manifest as it is published."""
    notes = tuple(_note(file) for file in files)
    return canonical_json(
        Manifest(
            epoch=epoch, date=day, code_revision=revision, records=records, records_root=root, files=notes
        )
    )


def _note(file: FileDigest) -> FileNote:
    written, words = FORMATS[file.table], DESCRIPTIONS[file.table]
    columns = (
        ColumnNote(name=field.name, type=str(field.type), description=words[field.name])
        for field in written.arrow
    )
    return FileNote(**dict(file), schema_version=written.schema, columns=tuple(columns))
