"""What capturing hidden states costs a miner: tokens per second and worker CPU, with and without.

    python -m bench.capture_overhead [--model FOLDER] [--rounds N] [--cores 0,1]

One engine serves the same load, capture on and off in turn, so that both share whatever else the machine
does. Off means that the hook, the batch planning and the collecting are all taken out. On a machine that is
busy otherwise the two differ by chance; so the CPU that the worker spends inside capture is counted too.
Next to it stands what the plain alternative would cost: a second forward pass of each finished request in
transformers.
"""

import argparse
import asyncio
import functools
import os
import random
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from miners.hidden_states.engine_capture import EngineCapture
from miners.hidden_states.worker import CaptureWorkerExtension
from shared.calibration import Calibration, write_calibration
from shared.calibration_header import CalibrationHeader
from shared.reference_model import ReferenceModel
from shared.vllm_cpu import cpu_environment

CONCURRENCY = 8
REQUESTS = 16
PROMPT_TOKENS = 64
OUTPUT_TOKENS = 48
SECOND_PASSES = 4
TARGET_RATIO = 1.05
"""The most that capture may cost: 5 % of the worker's CPU at 8 concurrent requests."""


@dataclass(frozen=True)
class Load:
    """One load's outcome."""

    tokens_per_s: float
    cpu_ms_per_token: float
    capture_cpu_ms_per_token: float

    @property
    def cpu_ratio(self) -> float:
        """All CPU over the CPU outside of capture."""
        return self.cpu_ms_per_token / (self.cpu_ms_per_token - self.capture_cpu_ms_per_token)


class MeasuredWorker(CaptureWorkerExtension):
    """The worker's half of this benchmark: reads the CPU clock, takes capture out and puts it back."""

    _taken_out: dict[str, Any] | None = None
    _inside_s = 0.0

    def bench_cpu_seconds(self) -> tuple[float, float]:
        """CPU time of all threads of this worker so far, and the part of it spent inside capture."""
        return time.process_time(), self._inside_s

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def timed(*args: Any, **options: Any) -> Any:
            started = time.process_time()
            try:
                return call(*args, **options)
            finally:
                self._inside_s += time.process_time() - started

        return timed

    def bench_count(self) -> None:
        """Count the CPU of the hook, of planning, of sketching and of collecting from now on."""
        from vllm.model_executor.models.interfaces import EagleModelMixin

        worker: Any = self
        for name in ("begin_step", "plan", "end_step"):
            setattr(worker._constantinople, name, self._timed(getattr(worker._constantinople, name)))
        worker.constantinople_collect = self._timed(self.constantinople_collect)
        # functools.wraps would point to the hook itself; `bench_capture` wants vLLM's own beneath it.
        hook = EagleModelMixin._maybe_add_hidden_state
        EagleModelMixin._maybe_add_hidden_state = timed = self._timed_method(hook)
        timed.__wrapped__ = hook.__wrapped__

    def _timed_method(self, method: Callable[..., Any]) -> Any:
        def timed(model: Any, *args: Any) -> Any:
            started = time.process_time()
            result = method(model, *args)
            self._inside_s += time.process_time() - started
            return result

        return timed

    def bench_capture(self, enabled: bool) -> None:
        """Take the hook and the wrapped runner methods out, or put them back."""
        if enabled is (self._taken_out is None):
            return
        from vllm.model_executor.models.interfaces import EagleModelMixin

        worker: Any = self
        methods = vars(worker.model_runner)
        if enabled:
            assert self._taken_out is not None
            EagleModelMixin._maybe_add_hidden_state = self._taken_out.pop("hook")
            methods.update(self._taken_out)
            self._taken_out = None
        else:
            wrapped = ("execute_model", "_prepare_inputs", "prepare_inputs")
            self._taken_out = {name: methods.pop(name) for name in wrapped if name in methods}
            hook = EagleModelMixin._maybe_add_hidden_state
            self._taken_out["hook"] = hook
            EagleModelMixin._maybe_add_hidden_state = hook.__wrapped__


class Bench:
    """An engine under a fixed load of concurrent requests."""

    def __init__(self, engine: Any, capture: EngineCapture, vocabulary: int) -> None:
        self._engine, self._capture = engine, capture
        self._random, self._vocabulary = random.Random(0), vocabulary

    def prompt(self) -> list[int]:
        """A prompt that no cache holds."""
        return self._random.choices(range(100, self._vocabulary - 100), k=PROMPT_TOKENS)

    async def _worker_cpu_s(self) -> tuple[float, float]:
        total, inside = (await self._engine.collective_rpc("bench_cpu_seconds"))[0]
        return float(total), float(inside)

    async def _request(self, slots: asyncio.Semaphore, captured: bool) -> None:
        from vllm import SamplingParams

        params = SamplingParams(max_tokens=OUTPUT_TOKENS, ignore_eos=True, temperature=0.8, seed=1)
        request_id = uuid.uuid4().hex
        async with slots:
            prompt = {"prompt_token_ids": self.prompt()}
            async for _ in self._engine.generate(prompt, params, f"chatcmpl-{request_id}"):
                pass
            if captured and not await self._capture.collect(request_id):
                raise RuntimeError("capture was on and nothing was captured; the comparison would be void")

    async def load(self, captured: bool, requests: int = REQUESTS) -> Load:
        """Serve the load once, capture on or off."""
        await self._engine.collective_rpc("bench_capture", args=(captured,))
        slots = asyncio.Semaphore(CONCURRENCY)
        (cpu_s, inside_s), started = await self._worker_cpu_s(), time.perf_counter()
        await asyncio.gather(*(self._request(slots, captured) for _ in range(requests)))
        wall_s, (cpu_after_s, inside_after_s) = time.perf_counter() - started, await self._worker_cpu_s()
        tokens = requests * OUTPUT_TOKENS
        per_token = 1e3 / tokens
        return Load(
            tokens / wall_s, (cpu_after_s - cpu_s) * per_token, (inside_after_s - inside_s) * per_token
        )


def second_pass_cpu_ms(model: str, prompts: Sequence[list[int]]) -> float:
    """CPU of one transformers pass over a finished request, in ms per output token; bfloat16, one thread."""
    torch.set_num_threads(1)
    reference = ReferenceModel.load(model, dtype=torch.bfloat16)
    costs = []
    for prompt in prompts:
        tokens = prompt + prompt[: OUTPUT_TOKENS - 1]
        started = time.process_time()
        reference.hidden_states(tokens, {reference.num_layers: [len(tokens) - 1]})
        costs.append((time.process_time() - started) / OUTPUT_TOKENS * 1e3)
    return statistics.median(costs)


def plain_calibration(num_layers: int, hidden_size: int, folder: Path) -> Path:
    """Statistics that change no number: sketching costs the same whatever they are."""
    header = CalibrationHeader(
        model="bench",
        model_digest="0" * 64,
        num_layers=num_layers,
        hidden_size=hidden_size,
        reference="none",
        statistics_tokens=0,
    )
    shape = (num_layers, hidden_size)
    write_calibration(Calibration(header, torch.zeros(shape), torch.ones(shape)), folder / "calibration")
    return folder / "calibration"


def spread(ratios: Sequence[float]) -> str:
    """Median and quartiles: rounds whose quartiles lie far apart were disturbed by something else."""
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def show(on: Sequence[Load], off: Sequence[Load], second_ms: float) -> None:
    """Print the table; ratios are taken round by round, between neighbours in time."""
    speed = spread([a.tokens_per_s / b.tokens_per_s for a, b in zip(on, off, strict=True)])
    cpu = spread([a.cpu_ms_per_token / b.cpu_ms_per_token for a, b in zip(on, off, strict=True)])
    print(f"\n{CONCURRENCY} concurrent requests, {PROMPT_TOKENS} + {OUTPUT_TOKENS} tokens, {len(on)} rounds")
    print(f"{'median':28}{'tokens/s':>25}{'worker CPU ms/token':>25}")
    for name, loads in (("capture off", off), ("capture on", on)):
        tokens_per_s = statistics.median(load.tokens_per_s for load in loads)
        cpu_ms = statistics.median(load.cpu_ms_per_token for load in loads)
        print(f"{name:28}{tokens_per_s:25.1f}{cpu_ms:25.3f}")
    print(f"{'on / off (quartiles)':28}{speed:>25}{cpu:>25}")
    inside = spread([load.cpu_ratio for load in on])
    print(f"{'counted inside capture':28}{'':25}{inside:>25}   target: at most {TARGET_RATIO}")
    off_ms = statistics.median(load.cpu_ms_per_token for load in off)
    second = f"{1 + second_ms / off_ms:.3f}"
    print(f"{'a second transformers pass':28}{'':25}{second:>25}   {second_ms:.3f} ms/token")


async def measure(model: str, rounds: int) -> tuple[list[Load], list[Load], list[list[int]]]:
    """Loads with capture on and off, alternating which goes first, and some prompts of the kind served."""
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    options: dict[str, Any] = {"dtype": "bfloat16", "max_model_len": 2048, "max_num_seqs": 16}
    extension = "bench.capture_overhead.MeasuredWorker"
    arguments = AsyncEngineArgs(model=model, enforce_eager=True, worker_extension_cls=extension, **options)
    engine = AsyncLLM.from_engine_args(arguments)
    try:
        config, capture = engine.vllm_config.model_config, EngineCapture(engine)
        with tempfile.TemporaryDirectory() as folder:
            shape = config.get_total_num_hidden_layers(), config.get_hidden_size()
            await capture.install(plain_calibration(*shape, Path(folder)))
        await engine.collective_rpc("bench_count")
        bench = Bench(engine, capture, config.get_vocab_size())
        loads: dict[bool, list[Load]] = {True: [], False: []}
        for captured in loads:
            await bench.load(captured, CONCURRENCY)
        for number in range(rounds):
            for captured in (True, False) if number % 2 else (False, True):
                loads[captured].append(await bench.load(captured))
        return loads[True], loads[False], [bench.prompt() for _ in range(SECOND_PASSES)]
    finally:
        engine.shutdown()


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="", help="a local folder; the demo model when not given")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cores", default="0,1", help="cores of the engine")
    given = parser.parse_args()
    os.environ.update(cpu_environment([int(core) for core in given.cores.split(",")]))
    model = given.model or _demo_model()
    on, off, prompts = asyncio.run(measure(model, given.rounds))
    show(on, off, second_pass_cpu_ms(model, prompts))
    return 0


def _demo_model() -> str:
    from localnet.config import PROJECT_ROOT
    from localnet.demo_model import DEMO_MODEL, build_demo_model

    return str(build_demo_model(PROJECT_ROOT / ".localnet" / "models" / DEMO_MODEL))


if __name__ == "__main__":
    sys.exit(main())
