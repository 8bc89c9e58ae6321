"""Epochs on their way to the store: a folder between the auditor, which fills it, and the uploader.

<folder>/<epoch>/<key of each file>      written and synced before the epoch is sealed
<folder>/<epoch>/epochs/<epoch>.json     the signed summary; with it the epoch is ready
<folder>/<epoch>/published               the store has all of it
<folder>/trouble                         why the store can't be written, in words
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

from shared.errors import ObjectMissing, StoreError
from shared.object_store import FolderStore

_PUBLISHED = "published"
_TROUBLE = "trouble"


def _summary_key(epoch: int) -> str:
    return f"epochs/{epoch}.json"


class Spool:
    """Every method blocks. Raises StoreError when the disk fails."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _epoch(self, epoch: int) -> Path:
        return self._folder / str(epoch)

    def files(self, epoch: int) -> FolderStore:
        """The files of an epoch by their keys."""
        return FolderStore(self._epoch(epoch))

    def write(self, epoch: int, files: Mapping[str, bytes]) -> None:
        """Keep the files of an epoch that is about to be sealed, in place of an earlier attempt's."""
        self.drop(epoch)
        for key, data in files.items():
            self.files(epoch).put(key, data)

    def seal(self, epoch: int, summary: bytes) -> None:
        """The epoch is ready to be published; doing it twice does no harm."""
        self.files(epoch).put(_summary_key(epoch), summary)

    def has_files(self, epoch: int) -> bool:
        """Whether an epoch's files were written."""
        return self._epoch(epoch).is_dir()

    def waiting(self) -> list[int]:
        """Sealed epochs that the store lacks, oldest first."""
        return [number for number in self._sealed() if not (self._epoch(number) / _PUBLISHED).exists()]

    def published(self) -> list[int]:
        """Epochs that the store has and that are still here, oldest first."""
        return [number for number in self._sealed() if (self._epoch(number) / _PUBLISHED).exists()]

    def numbers(self) -> list[int]:
        """All epochs that have anything here, in order."""
        try:
            names = [path.name for path in self._folder.iterdir()] if self._folder.is_dir() else []
        except OSError as error:
            raise StoreError(f"{self._folder} can't be read: {error.strerror}") from None
        return sorted(int(name) for name in names if name.isdecimal())

    def _sealed(self) -> list[int]:
        return [number for number in self.numbers() if (self._epoch(number) / _summary_key(number)).exists()]

    def mark_published(self, epoch: int) -> None:
        """The store has all of it."""
        self.files(epoch).put(_PUBLISHED, b"")

    def drop(self, epoch: int) -> None:
        """Forget an epoch."""
        try:
            if self._epoch(epoch).exists():
                shutil.rmtree(self._epoch(epoch))
        except OSError as error:
            raise StoreError(f"{self._epoch(epoch)} can't be removed: {error.strerror}") from None

    def tell(self, trouble: str) -> None:
        """Leave word of why nothing is published; empty when all is well."""
        FolderStore(self._folder).put(_TROUBLE, trouble.encode())

    def trouble(self) -> str:
        """The last word left, empty when all is well."""
        try:
            return FolderStore(self._folder).get(_TROUBLE).decode(errors="replace")
        except ObjectMissing:
            return ""
