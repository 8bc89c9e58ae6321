"""Where epochs are published: a folder, or any S3-compatible service (Cloudflare R2 in production).

Stores block; call them from a thread or a process that may wait.
"""

from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from shared.errors import ConfigError
from shared.folder_store import FolderStore as FolderStore
from shared.http_reader import HttpReader as HttpReader
from shared.object_keys import MAX_OBJECT_BYTES as MAX_OBJECT_BYTES
from shared.object_keys import check_key as check_key
from shared.s3_store import S3Store as S3Store


class ObjectReader(Protocol):
    """Reading published objects; needs no credentials."""

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """The object's bytes.

        Raises:
            ObjectMissing: there is none.
            StoreError: the store failed, or the object is larger than `most_bytes`.
        """
        ...

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly `length` bytes of the object, from byte `start` on; at least one.

        Raises:
            ObjectMissing: there is no such object.
            StoreError: the store failed, or the object ends before them.
            ValueError: `start` is below 0, or `length` below 1.
        """
        ...

    def size(self, key: str) -> int:
        """The object's size in bytes, without reading it.

        Raises:
            ObjectMissing: there is none.
            StoreError: the store failed.
        """
        ...


class ObjectStore(ObjectReader, Protocol):
    """Reading and writing."""

    def put(self, key: str, data: bytes) -> None:
        """Create or replace an object.

        Raises:
            StoreError: the store failed.
        """
        ...

    def create(self, key: str, data: bytes) -> None:
        """Create an object that must not exist yet.

        Raises:
            ObjectExists: it exists.
            StoreError: the store failed.
        """
        ...

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted.

        Raises:
            StoreError: the store failed.
        """
        ...


def open_store(location: str, endpoint: str | None = None, region: str = "auto") -> ObjectStore:
    """A store from its location: a folder, or ``s3://bucket/prefix``.

    Credentials of S3 come from where boto3 finds them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY …).

    Raises:
        ConfigError: the location is neither, or boto3 can't use it.
    """
    parts = urlsplit(location)
    if parts.scheme == "s3":
        prefix = parts.path.strip("/")
        return S3Store(parts.netloc, prefix + "/" if prefix else "", endpoint, region)
    if parts.scheme in ("", "file"):
        return FolderStore(Path(parts.path).expanduser())
    raise ConfigError(f"{location!r} is not a store: give a folder or s3://bucket/prefix")


def open_reader(location: str, endpoint: str | None = None, region: str = "auto") -> ObjectReader:
    """A reader: like `open_store`, or an http(s) URL, which needs no credentials.

    Raises:
        ConfigError: the location is none of these.
    """
    if urlsplit(location).scheme in ("http", "https"):
        return HttpReader(location)
    return open_store(location, endpoint, region)
