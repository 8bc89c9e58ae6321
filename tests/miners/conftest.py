"""A chain of its own for each test that asks for one, and two parties on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from localnet.wallets import Party, create_party
from shared.calibration import write_calibration
from tests.miners.local_chain import LocalChain, local_chain
from tests.miners.tiny_calibration import tiny_calibration


@pytest_asyncio.fixture
async def chain_node(tmp_path: Path) -> AsyncIterator[LocalChain]:
    async with local_chain() as node:
        yield node


@pytest.fixture
def miner(tmp_path: Path) -> Party:
    return create_party("miner", tmp_path)


@pytest.fixture
def validator(tmp_path: Path) -> Party:
    return create_party("validator", tmp_path)


@pytest.fixture(scope="session")
def tiny_calibration_file(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reference statistics of the tiny model over random tokens; without honest noise."""
    file = tmp_path_factory.mktemp("calibration") / "tiny.calibration"
    write_calibration(tiny_calibration(tiny_model_folder), file)
    return file
