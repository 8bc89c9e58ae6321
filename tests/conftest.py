"""What every test may ask for. The caches of the SDK are redirected before anything imports it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from localnet.postgresql import NewDatabases, programs, running_postgresql

_SCRATCH = Path(tempfile.mkdtemp(prefix="constantinople-tests-"))
os.environ["HOME"] = str(_SCRATCH)
os.environ["BITTENSOR_RUNTIME_CACHE_DIR"] = str(_SCRATCH / "runtime")
os.environ["BTCLI_TOKEN_SYMBOLS_CACHE"] = str(_SCRATCH / "token_symbols.json")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# A busy machine is no reason to fail.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[NewDatabases]:
    """A real PostgreSQL server for all tests; a machine that says that it is CI must have it installed."""
    folder = programs()
    if folder is None:
        words = "PostgreSQL is not installed here: apt-get install postgresql"
        if os.environ.get("CI"):
            pytest.fail(words)
        pytest.skip(words)
    with running_postgresql(folder) as server:
        yield NewDatabases(server)


@pytest.fixture(scope="session")
def demo_model_folder() -> Path:
    """The demo model, SmolLM2-135M-Instruct, as a Hugging Face folder."""
    from tests.models import demo_model

    return demo_model()


@pytest.fixture(scope="session")
def tiny_model_folder() -> Path:
    """A random Qwen2 of 4 layers with the demo model's tokenizer."""
    from tests.models import tiny_model

    return tiny_model()
