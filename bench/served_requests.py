"""A vLLM engine as a miner runs it, capture and verifiable sampling on, for benchmarks of served requests."""

import asyncio
import random
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bench.capture_overhead import plain_calibration
from bench.costs import Cost, Served, cost_of
from bench.serving_floor import TEMPERATURE, TOP_P, random_prompt
from miners.hidden_states.engine_capture import WORKER_EXTENSION, EngineCapture

GPU_SHARE = 0.45
"""Of the GPU's memory: the rest is the reference's."""


class ServingEngine:
    """Serves random prompts that no cache holds."""

    def __init__(self, engine: Any, capture: EngineCapture, vocabulary_size: int) -> None:
        self._engine, self._capture = engine, capture
        self._vocabulary_size, self._random = vocabulary_size, random.Random(0)

    async def serve(self, requests: int, prompt_tokens: int, output_tokens: int) -> tuple[list[Served], Cost]:
        """Serve requests side by side; the cost is that of all processes."""
        served: list[Served] = []

        async def work() -> None:
            each = (self._serve_one(prompt_tokens, output_tokens) for _ in range(requests))
            served.extend(await asyncio.gather(*each))

        cost = await cost_of(work, requests)
        return served, cost

    async def _serve_one(self, prompt_tokens: int, output_tokens: int) -> Served:
        from vllm import SamplingParams

        prompt_ids = random_prompt(self._random, self._vocabulary_size, prompt_tokens)
        seed = self._random.getrandbits(31)
        request_id = uuid.uuid4().hex
        params = SamplingParams(
            max_tokens=output_tokens,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            seed=seed,
            ignore_eos=True,
            detokenize=False,
        )
        output_ids: list[int] = []
        prompt = {"prompt_token_ids": prompt_ids}
        async for answer in self._engine.generate(prompt, params, f"chatcmpl-{request_id}"):
            output_ids = list(answer.outputs[0].token_ids)
        await self._capture.collect(request_id)
        return Served(prompt_ids, output_ids, seed)


@asynccontextmanager
async def serving_engine(model: str, on_gpu: bool) -> AsyncIterator[ServingEngine]:
    """Start an engine in processes of its own; on a CPU with the flags of `shared/vllm_cpu.py`."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    options: dict[str, Any] = {"gpu_memory_utilization": GPU_SHARE} if on_gpu else {"enforce_eager": True}
    arguments = AsyncEngineArgs(
        model=model,
        dtype="bfloat16",
        max_model_len=2048,
        max_num_seqs=16,
        skip_tokenizer_init=True,
        worker_extension_cls=WORKER_EXTENSION,
        **options,
    )
    engine = AsyncLLM.from_engine_args(arguments)
    try:
        config, capture = engine.vllm_config.model_config, EngineCapture(engine)
        with tempfile.TemporaryDirectory() as folder:
            shape = config.get_total_num_hidden_layers(), config.get_hidden_size()
            await capture.install(plain_calibration(*shape, Path(folder)))
        yield ServingEngine(engine, capture, config.get_vocab_size())
    finally:
        engine.shutdown()
