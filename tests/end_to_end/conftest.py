"""One subnet and one bucket serve all tests here; the last test of test_localnet.py stops the subnet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.public_bucket import PublicBucket, public_bucket
from tests.end_to_end.running_localnet import FOLDER, RunningLocalnet, start_localnet


@pytest.fixture(scope="session")
def bucket() -> Iterator[PublicBucket]:
    with public_bucket() as opened:
        yield opened


@pytest.fixture(scope="session")
def localnet(demo_model_folder: Path, bucket: PublicBucket) -> Iterator[RunningLocalnet]:
    running = start_localnet(FOLDER, bucket)
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(120)
