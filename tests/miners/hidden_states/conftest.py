"""One real engine, with little of everything, so that it must chunk, cache and preempt."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import torch

from miners.hidden_states.engine_capture import WORKER_EXTENSION, EngineCapture
from shared.calibration import Calibration, write_calibration
from shared.calibration_header import CalibrationHeader
from shared.reference_model import ReferenceModel
from shared.vllm_cpu import cpu_environment
from tests.miners.hidden_states.comparison import Comparison
from tests.models import tiny_model

STATISTICS_TOKENS = 256

ENGINE: dict[str, Any] = {
    "dtype": "bfloat16",
    "max_model_len": 512,
    "max_num_seqs": 8,
    "max_num_batched_tokens": 64,
    "block_size": 32,
    "num_gpu_blocks_override": 32,
    "enforce_eager": True,
    "seed": 0,
    "worker_extension_cls": WORKER_EXTENSION,
}
"""Prompts over 64 tokens are prefilled in chunks; 32 blocks of 32 tokens hold two full contexts, so that
more long requests preempt each other."""


@pytest.fixture(scope="session")
def reference() -> ReferenceModel:
    return ReferenceModel.load(str(tiny_model()))


@pytest.fixture(scope="session")
def calibration(reference: ReferenceModel) -> Calibration:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(100, 40_000, (STATISTICS_TOKENS,), generator=generator).tolist()
    layers = range(1, reference.num_layers + 1)
    taken = reference.hidden_states(tokens, {layer: range(STATISTICS_TOKENS) for layer in layers})
    hidden = torch.stack([taken[layer] for layer in layers])
    header = CalibrationHeader(
        model="tiny-qwen2",
        model_digest="0" * 64,
        num_layers=reference.num_layers,
        hidden_size=reference.hidden_size,
        reference="test",
        statistics_tokens=STATISTICS_TOKENS,
    )
    return Calibration(header, hidden.mean(dim=1), hidden.std(dim=1))


@pytest.fixture(scope="session")
def comparison(reference: ReferenceModel, calibration: Calibration) -> Comparison:
    return Comparison(reference, calibration)


@pytest.fixture(scope="session")
def calibration_file(calibration: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("calibration") / "tiny.safetensors"
    write_calibration(calibration, file)
    return file


@pytest.fixture(scope="session")
def engine_config() -> Any:
    """vLLM's configuration of an ordinary engine; no engine is started."""
    from vllm.engine.arg_utils import EngineArgs

    return EngineArgs(model=str(tiny_model()), max_model_len=128, enforce_eager=True).create_engine_config()


@pytest.fixture(scope="session")
def cpu_variables() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cpu_environment(sorted(os.sched_getaffinity(0))).items():
            patch.setenv(name, value)
        yield


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def engine(cpu_variables: None) -> AsyncIterator[Any]:
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    started = AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(tiny_model()), **ENGINE))
    yield started
    started.shutdown()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def capture(engine: Any, calibration_file: Path) -> EngineCapture:
    capture = EngineCapture(engine)
    await capture.install(calibration_file)
    return capture
