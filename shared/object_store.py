"""Where epochs are published: a folder, or any S3-compatible service (Cloudflare R2 in production).

Stores block; call them from a thread or a process that may wait.
"""

import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from shared.errors import ConfigError, ObjectExists, ObjectMissing, StoreError

MAX_OBJECT_BYTES = 1 << 30
HTTP_DEADLINE_S = 600.0
"""For one object over HTTP, however slowly its bytes come: 256 MiB at 0.5 MB/s."""

_KEY = re.compile(r"[A-Za-z0-9._=-]+(/[A-Za-z0-9._=-]+)*")


class ObjectReader(Protocol):
    """Reading published objects; needs no credentials."""

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """The object's bytes.

        Raises:
            ObjectMissing: there is none.
            StoreError: the store failed, or the object is larger than `most_bytes`.
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


def check_key(key: str) -> str:
    """The key itself, if it is a plain relative path of letters, digits and ``._=-``.

    Raises:
        StoreError: it is not: no empty part, no `..`, no leading slash.
    """
    if not _KEY.fullmatch(key) or any(part in (".", "..") for part in key.split("/")):
        raise StoreError(f"not an object key: {key!r}")
    return key


class FolderStore:
    """Objects as files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _file(self, key: str) -> Path:
        return self._folder / check_key(key)

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        try:
            with self._file(key).open("rb") as file:
                data = file.read(most_bytes + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectMissing(f"there is no object {key} in {self._folder}") from None
        except OSError as error:
            raise StoreError(f"{key} in {self._folder} can't be read: {error.strerror}") from None
        if len(data) > most_bytes:
            raise StoreError(f"{key} in {self._folder} is larger than {most_bytes} bytes")
        return data

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


class S3Store:
    """Objects in a bucket of an S3-compatible service.

    R2 answers the checksum trailers of newer boto3 with a misleading `Unauthorized`, so they are
    sent and checked only where the service requires them.
    """

    def __init__(self, bucket: str, prefix: str, endpoint: str | None, region: str) -> None:
        import boto3
        from botocore.config import Config

        self._bucket, self._prefix = bucket, prefix
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name=region,
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "max_attempts": 4},
                connect_timeout=10,
                read_timeout=60,
            ),
        )

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    def _failure(self, action: str, key: str, error: Exception) -> StoreError:
        return StoreError(f"{action} {key} in bucket {self._bucket} failed: {error}")

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._name(key))
            if answer["ContentLength"] > most_bytes:
                raise StoreError(f"{key} in bucket {self._bucket} is larger than {most_bytes} bytes")
            data: bytes = answer["Body"].read()
            return data
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise ObjectMissing(f"there is no object {key} in bucket {self._bucket}") from None
            raise self._failure("reading", key, error) from None
        except BotoCoreError as error:
            raise self._failure("reading", key, error) from None

    def _put(self, key: str, data: bytes, **conditions: str) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.put_object(Bucket=self._bucket, Key=self._name(key), Body=data, **conditions)
        except ClientError as error:
            if conditions and error.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                raise ObjectExists(f"{key} is already in bucket {self._bucket}") from None
            raise self._failure("writing", key, error) from None
        except BotoCoreError as error:
            raise self._failure("writing", key, error) from None

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data)

    def create(self, key: str, data: bytes) -> None:
        self._put(key, data, IfNoneMatch="*")

    def keys(self, prefix: str) -> list[str]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            return sorted(
                item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", [])
            )
        except (BotoCoreError, ClientError) as error:
            raise self._failure("listing", prefix, error) from None


class HttpReader:
    """Published objects below a public URL."""

    def __init__(
        self,
        url: str,
        timeout_s: float = 30.0,
        deadline_s: float = HTTP_DEADLINE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url.rstrip("/")
        self._timeout_s, self._deadline_s, self._clock = timeout_s, deadline_s, clock

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        import httpx

        ends_s = self._clock() + self._deadline_s
        try:
            with httpx.stream("GET", f"{self._url}/{check_key(key)}", timeout=self._timeout_s) as answer:
                if answer.status_code in (403, 404):
                    raise ObjectMissing(f"there is no object {key} at {self._url}")
                answer.raise_for_status()
                data = bytearray()
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > most_bytes:
                        raise StoreError(f"{key} at {self._url} is larger than {most_bytes} bytes")
                    if self._clock() > ends_s:
                        raise StoreError(f"{key} at {self._url} took longer than {self._deadline_s:g} s")
                return bytes(data)
        except httpx.HTTPError as error:
            raise StoreError(f"reading {key} at {self._url} failed: {error}") from None


def open_store(location: str, endpoint: str | None = None, region: str = "auto") -> ObjectStore:
    """A store from its location: a folder, or ``s3://bucket/prefix``.

    Credentials of S3 come from where boto3 finds them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY …).

    Raises:
        ConfigError: the location is neither.
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
