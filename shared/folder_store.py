"""Published objects as files below one folder."""

import errno
import os
import secrets
from pathlib import Path

from shared.errors import ObjectExists, ObjectMissing, StoreError
from shared.object_keys import MAX_OBJECT_BYTES, check_key, check_range, whole_range


class FolderStore:
    """Objects as files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, key: str) -> Path:
        return self._folder / check_key(key)

    def _failure(self, key: str, error: OSError) -> StoreError:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return ObjectMissing(f"there is no object {key} in {self._folder}")
        return StoreError(f"{key} in {self._folder} can't be read: {error.strerror}")

    def _read(self, key: str, start: int, most_bytes: int) -> bytes:
        try:
            with self._file(key).open("rb") as file:
                file.seek(start)
                return file.read(most_bytes)
        except OSError as error:
            raise self._failure(key, error) from None

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        data = self._read(key, 0, most_bytes + 1)
        if len(data) > most_bytes:
            raise StoreError(f"{key} in {self._folder} is larger than {most_bytes} bytes")
        return data

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_range(start, length)
        return whole_range(self._read(key, start, length), start, length, f"{key} in {self._folder}")

    def size(self, key: str) -> int:
        file = self._file(key)
        try:
            if not file.is_file():
                raise FileNotFoundError
            return file.stat().st_size
        except OSError as error:
            raise self._failure(key, error) from None

    def _write_partial(self, key: str, data: bytes) -> tuple[Path, Path]:
        file = self._file(key)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
        with partial.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        return file, partial

    def put(self, key: str, data: bytes) -> None:
        try:
            file, partial = self._write_partial(key, data)
            partial.replace(file)
        except OSError as error:
            raise StoreError(f"{key} can't be written to {self._folder}: {error.strerror}") from None

    def create(self, key: str, data: bytes) -> None:
        try:
            file, partial = self._write_partial(key, data)
            try:
                os.link(partial, file)
            finally:
                partial.unlink()
        except FileExistsError:
            raise ObjectExists(f"{key} is already in {self._folder}") from None
        except OSError as error:
            raise StoreError(f"{key} can't be written to {self._folder}: {error.strerror}") from None

    def keys(self, prefix: str) -> list[str]:
        found = (
            path.relative_to(self._folder).as_posix() for path in self._folder.rglob("*") if path.is_file()
        )
        return sorted(key for key in found if key.startswith(prefix) and not key.endswith(".partial"))

    def delete(self, key: str) -> None:
        """Remove an object, and folders that are empty without it. Only probes are ever removed.

        Raises:
            StoreError: it can't be removed.
        """
        file = self._file(key)
        try:
            file.unlink()
            for folder in file.relative_to(self._folder).parents[:-1]:
                (self._folder / folder).rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise StoreError(f"{key} in {self._folder} can't be removed: {error.strerror}") from None
