"""Published objects in a bucket of any S3-compatible service (Cloudflare R2 in production)."""

from typing import Any

from shared.errors import ConfigError, ObjectExists, ObjectMissing, StoreError
from shared.object_keys import MAX_OBJECT_BYTES, check_key, check_range, whole_range


class S3Store:
    """Objects in a bucket of an S3-compatible service.

    R2 answers the checksum trailers of newer boto3 with a misleading `Unauthorized`, so they are
    sent and checked only where the service requires them.
    """

    def __init__(self, bucket: str, prefix: str, endpoint: str | None, region: str) -> None:
        """Open a bucket; nothing is sent yet.

        Raises:
            ConfigError: boto3 is not installed.
        """
        try:
            import boto3
            from botocore.config import Config
        except ModuleNotFoundError:
            raise ConfigError(
                f"s3://{bucket} needs boto3, which is not installed: pip install boto3, or give the bucket's "
                "public https:// address, which needs no credentials"
            ) from None

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

    def _open(self, key: str, **ranges: str) -> Any:
        """The service's answer, whose body is not read yet."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self._client.get_object(Bucket=self._bucket, Key=self._name(key), **ranges)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "404"):
                raise ObjectMissing(f"there is no object {key} in bucket {self._bucket}") from None
            if ranges and code in ("InvalidRange", "416"):
                raise StoreError(
                    f"{key} in bucket {self._bucket} ends before {ranges['Range']} begins"
                ) from None
            raise self._failure("reading", key, error) from None
        except BotoCoreError as error:
            raise self._failure("reading", key, error) from None

    def _body(self, answer: Any, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError

        try:
            data: bytes = answer["Body"].read()
            return data
        except BotoCoreError as error:
            raise self._failure("reading", key, error) from None

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
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            size: int = self._client.head_object(Bucket=self._bucket, Key=self._name(key))["ContentLength"]
            return size
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                # An answer to HEAD has no body, so it can't say whether object or bucket is missing.
                self._open(key)["Body"].close()
            raise self._failure("asking for the size of", key, error) from None
        except BotoCoreError as error:
            raise self._failure("asking for the size of", key, error) from None

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
