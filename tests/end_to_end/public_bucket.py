"""A bucket with a public URL, on a real S3-compatible server that can go away and come back."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "public-epochs"
CREDENTIALS: Mapping[str, str] = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}

EVERYBODY_READS: Mapping[str, Any] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": "*",
            # S3 asks for the first of a HEAD request too, the server of these tests for the second.
            "Action": ["s3:GetObject", "s3:HeadObject"],
            "Resource": f"arn:aws:s3:::{BUCKET}/*",
        }
    ],
}


class PublicBucket:
    """Objects stay while the server is away: they belong to this process."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        client.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(EVERYBODY_READS))

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """Where anybody reads without credentials."""
        return f"{self.endpoint}/{BUCKET}"

    def go_away(self) -> None:
        """Stop listening: connections are refused."""
        self._server.stop()

    def come_back(self) -> None:
        """Listen on the same port again."""
        self._server = ThreadedMotoServer(ip_address=self.host, port=self.port, verbose=False)
        self._server.start()

    def download(self, folder: Path) -> None:
        """All objects as files, by their keys."""
        client = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", []):
                file = folder / item["Key"]
                file.parent.mkdir(parents=True, exist_ok=True)
                client.download_file(BUCKET, item["Key"], str(file))


@contextmanager
def public_bucket() -> Iterator[PublicBucket]:
    """A server for as long as the block lasts; its credentials are in the environment meanwhile."""
    saved = {name: os.environ.get(name) for name in CREDENTIALS}
    os.environ.update(CREDENTIALS)
    bucket = PublicBucket()
    try:
        yield bucket
    finally:
        bucket.go_away()
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
