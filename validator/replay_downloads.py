"""Downloads of a replay: into a folder, bounded, held against the digests that are promised, resumable."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from shared.canonical import sha256_hex
from shared.dataset import FileDigest
from shared.errors import ObjectMissing
from shared.object_keys import MAX_OBJECT_BYTES, check_key
from shared.object_store import ObjectReader
from validator.epoch_evidence import EpochRefused
from validator.epoch_reading import get
from validator.epoch_summary import summary_key

CHUNK_BYTES = 8 << 20
"""Of one read: what is lost when a download breaks off."""

MAX_EPOCH_BYTES = 8 << 30
"""Of all files of one epoch. 100,000 requests take some 0.2 GB (`python -m bench.replay`)."""

MAX_SUMMARY_BYTES = 256 << 20

Say = Callable[[str], None]


class Downloads:
    """Published objects, kept in a folder under their own keys."""

    def __init__(self, reader: ObjectReader, folder: Path, say: Say) -> None:
        self._reader, self._folder, self._say = reader, folder, say

    def pointer(self, key: str) -> bytes:
        """An object that changes, so that it is never taken from the folder.

        Raises:
            ObjectMissing: there is none.
            StoreError: the store failed.
        """
        return self._reader.get(key, MAX_SUMMARY_BYTES)

    def summary(self, epoch: int, sha256: str | None) -> bytes:
        """The bytes of a summary; of the folder if it has those of the digest that is expected.

        Raises:
            EpochRefused: there is none.
            StoreError: the store failed.
        """
        target = self._folder / summary_key(epoch)
        if sha256 is not None and target.is_file() and sha256_hex(kept := target.read_bytes()) == sha256:
            return kept
        data = get(self._reader, summary_key(epoch), MAX_SUMMARY_BYTES)
        _write(target, data)
        return data

    def manifest(self, key: str) -> bytes:
        """The bytes of a manifest.

        Raises:
            EpochRefused: there is none.
            StoreError: the store failed.
        """
        return get(self._reader, key, MAX_SUMMARY_BYTES)

    def file(self, promised: FileDigest) -> Path:
        """Where a table's file lies now, which is what its digest promises.

        Raises:
            EpochRefused: there is none, or another one than is promised.
            StoreError: the store failed; what has come so far is kept for the next time.
        """
        target = self._folder / check_key(promised.key)
        if target.is_file() and _sha256_of(target) == promised.sha256:
            return target
        self._check_size(promised)
        partial = target.with_name(f"{target.name}.partial")
        resumed = partial.is_file()
        self._fetch(promised, partial)
        if _sha256_of(partial) != promised.sha256 and resumed:
            partial.unlink()
            self._fetch(promised, partial)
        if _sha256_of(partial) != promised.sha256:
            partial.unlink()
            raise EpochRefused("file", f"{promised.key} is not the file that the summary names: other bytes")
        partial.replace(target)
        return target

    def _check_size(self, promised: FileDigest) -> None:
        if promised.size_bytes > MAX_OBJECT_BYTES:
            raise EpochRefused("file", f"{promised.key} is said to have {promised.size_bytes} bytes")
        try:
            size = self._reader.size(promised.key)
        except ObjectMissing as error:
            raise EpochRefused("file", str(error)) from None
        if size != promised.size_bytes:
            raise EpochRefused(
                "file",
                f"{promised.key} is not the file that the summary names: it has {size} bytes, not "
                f"{promised.size_bytes}",
            )

    def _fetch(self, promised: FileDigest, partial: Path) -> None:
        partial.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as stream:
            if stream.tell() > promised.size_bytes:
                stream.truncate(0)
                stream.seek(0)
            while (have := stream.tell()) < promised.size_bytes:
                wanted = min(CHUNK_BYTES, promised.size_bytes - have)
                stream.write(self._reader.get_range(promised.key, have, wanted))
                if promised.size_bytes > CHUNK_BYTES:
                    self._say(f"{promised.key}: {(have + wanted) / 1e6:.0f} of {_mb(promised)} MB")


def _mb(promised: FileDigest) -> str:
    return f"{promised.size_bytes / 1e6:.0f}"


def _sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
