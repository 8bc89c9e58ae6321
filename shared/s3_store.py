"""Published objects in a bucket of any S3-compatible service (Cloudflare R2 in production)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shared.errors import ConfigError, ObjectExists, ObjectMissing, StoreError
from shared.object_keys import MAX_OBJECT_BYTES, check_key, check_range, whole_range

_MISSING = ("NoSuchKey", "404")


class S3Store:
    """Objects in a bucket of an S3-compatible service.

    R2 answers the checksum trailers of newer boto3 with a misleading `Unauthorized`, so they are
    sent and checked only where the service requires them.
    """

    def __init__(self, bucket: str, prefix: str, endpoint: str | None, region: str) -> None:
        """Open a bucket; nothing is sent yet.

        Raises:
            ConfigError: boto3 is not installed, or endpoint, region or AWS profile can't be used.
        """
        try:
            import boto3
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError
        except ModuleNotFoundError:
            raise ConfigError(
                f"s3://{bucket} needs boto3, which is not installed: pip install boto3, or give the bucket's "
                "public https:// address, which needs no credentials"
            ) from None
        self._bucket, self._prefix = bucket, prefix
        config = Config(
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            retries={"mode": "standard", "max_attempts": 4},
            connect_timeout=10,
            read_timeout=60,
        )
        try:
            self._client: Any = boto3.client("s3", endpoint_url=endpoint, region_name=region, config=config)
        except (ValueError, BotoCoreError) as error:
            raise ConfigError(
                f"s3://{bucket} can't be opened: {error}. An endpoint looks like https://host, a region like "
                "auto or eu-west-1"
            ) from None

    def _name(self, key: str) -> str:
        return self._prefix + check_key(key)

    @contextmanager
    def _told(self, action: str, key: str) -> Iterator[None]:
        """What boto3 raises becomes a StoreError with the service's code."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise StoreError(f"{action} {key} in bucket {self._bucket} failed: {error}", code) from None
        except BotoCoreError as error:
            code = type(error).__name__
            raise StoreError(f"{action} {key} in bucket {self._bucket} failed: {error}", code) from None

    def _open(self, key: str, **ranges: str) -> Any:
        """The service's answer, whose body is not read yet."""
        try:
            with self._told("reading", key):
                return self._client.get_object(Bucket=self._bucket, Key=self._name(key), **ranges)
        except StoreError as error:
            if error.code in _MISSING:
                raise ObjectMissing(f"there is no object {key} in bucket {self._bucket}") from None
            if ranges and error.code in ("InvalidRange", "416"):
                raise StoreError(
                    f"{key} in bucket {self._bucket} ends before {ranges['Range']} begins", error.code
                ) from None
            raise

    def _body(self, answer: Any, key: str) -> bytes:
        with self._told("reading", key):
            data: bytes = answer["Body"].read()
        return data

    def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        answer = self._open(key)
        if answer["ContentLength"] > most_bytes:
            answer["Body"].close()
            raise StoreError(f"{key} in bucket {self._bucket} is larger than {most_bytes} bytes")
        return self._body(answer, key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        check_range(start, length)
        answer = self._open(key, Range=f"bytes={start}-{start + length - 1}")
        place = f"{key} in bucket {self._bucket}"
        if answer["ContentLength"] > length:
            answer["Body"].close()
            raise StoreError(f"{place}: the service ignores ranges and sends the whole object")
        return whole_range(self._body(answer, key), start, length, place)

    def size(self, key: str) -> int:
        try:
            with self._told("asking for the size of", key):
                answer = self._client.head_object(Bucket=self._bucket, Key=self._name(key))
        except StoreError as error:
            if error.code in _MISSING:
                # An answer to HEAD has no body, so it can't say whether object or bucket is missing.
                self._open(key)["Body"].close()
            raise
        size: int = answer["ContentLength"]
        return size

    def _put(self, key: str, data: bytes, **conditions: str) -> None:
        with self._told("writing", key):
            self._client.put_object(Bucket=self._bucket, Key=self._name(key), Body=data, **conditions)

    def put(self, key: str, data: bytes) -> None:
        self._put(key, data)

    def create(self, key: str, data: bytes) -> None:
        try:
            self._put(key, data, IfNoneMatch="*")
        except StoreError as error:
            if error.code in ("PreconditionFailed", "412"):
                raise ObjectExists(f"{key} is already in bucket {self._bucket}") from None
            raise

    def keys(self, prefix: str) -> list[str]:
        with self._told("listing", prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix
            )
            return sorted(
                item["Key"].removeprefix(self._prefix) for page in pages for item in page.get("Contents", [])
            )

    def delete(self, key: str) -> None:
        """Remove an object. What is published is never removed; probes of `validator/store_check.py` are.

        Raises:
            StoreError: the store failed, or the key may not delete.
        """
        with self._told("deleting", key):
            self._client.delete_object(Bucket=self._bucket, Key=self._name(key))

    @property
    def service_url(self) -> str:
        """Where requests go: the endpoint that was named, or Amazon's for the region."""
        url: str = self._client.meta.endpoint_url
        return url
