"""What verifiable sampling costs on a CPU: vLLM's own draw and ours, a step at a time, side by side.

    python -m bench.sampling_overhead [--rounds N] [--threads N]

Both are given the same logits of a batch of seeded requests and do what the first model runner has them do
in each step: top-k and top-p, then the draw. They take turns, so that both share whatever else the machine
does; CPU time counts all threads. With top-p both are dominated by vLLM's sorting of the vocabulary.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from miners.hidden_states.sampler_noise import SeededSampling

VOCABULARIES = (49_152, 152_064)
"""Of SmolLM2 and of Qwen2.5."""

BATCHES = (1, 8)
TOP_P = 0.95
STEPS = 5
"""Steps between two readings of the clocks: one alone is near their resolution."""

LOGIT_SPREAD = 3.0
"""Standard deviation of the logits, as SmolLM2's are on ordinary text."""

SEED = 2**31 + 11

Sampling = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Case:
    """One line of the table."""

    vocabulary: int
    batch: int
    top_p: float | None

    def logits(self) -> Tensor:
        """Float32 [batch, vocabulary]."""
        return torch.randn(self.batch, self.vocabulary) * LOGIT_SPREAD


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one step."""

    wall_ms: float
    cpu_ms: float


def stock_and_ours(case: Case) -> tuple[Sampling, Sampling]:
    """vLLM's draw for seeded requests, and ours behind the same top-p."""
    from vllm.platforms import current_platform
    from vllm.v1.sample.ops.topk_topp_sampler import TopKTopPSampler

    current_platform.import_kernels()
    sampler = TopKTopPSampler()
    generators = {row: torch.Generator().manual_seed(SEED + row) for row in range(case.batch)}
    top_p = None if case.top_p is None else torch.full((case.batch,), case.top_p)
    stock = sampler.forward
    ours = SeededSampling(_runner(case, sampler), stock)
    return (lambda logits: stock(logits, generators, None, top_p)), (
        lambda logits: ours(logits, {}, None, top_p)
    )


def _runner(case: Case, sampler: Any) -> Any:
    """The parts of a model runner that hold a batch of seeded requests."""
    from vllm import SamplingParams

    names = [str(row) for row in range(case.batch)]
    requests = {n: SimpleNamespace(sampling_params=SamplingParams(seed=SEED + int(n))) for n in names}
    return SimpleNamespace(
        input_batch=SimpleNamespace(req_ids=names, num_reqs=case.batch, generators={}),
        requests=requests,
        optimistic_seq_lens_cpu=torch.arange(100, 100 + case.batch, dtype=torch.int32),
        sampler=SimpleNamespace(topk_topp_sampler=sampler),
    )


def cost_of(sample: Sampling, logits: Tensor) -> Cost:
    """The mean cost of a step; the logits are copied outside of the clock, since top-p overwrites them."""
    copies = [logits.clone() for _ in range(STEPS)]
    wall, cpu = time.perf_counter(), time.process_time()
    for copy in copies:
        sample(copy)
    per_step = 1e3 / STEPS
    return Cost((time.perf_counter() - wall) * per_step, (time.process_time() - cpu) * per_step)


def alternate(case: Case, rounds: int) -> Iterator[tuple[Cost, Cost]]:
    """Costs of both, round by round; each goes first every other time."""
    stock, ours = stock_and_ours(case)
    logits = case.logits()
    for sample in (stock, ours):
        cost_of(sample, logits)
    for number in range(rounds):
        if number % 2:
            yield cost_of(stock, logits), cost_of(ours, logits)
        else:
            after = cost_of(ours, logits)
            yield cost_of(stock, logits), after


def row(case: Case, pairs: Sequence[tuple[Cost, Cost]]) -> str:
    """One line: medians in milliseconds a step, and the ratio of CPU time with its quartiles."""
    stock, ours = zip(*pairs, strict=True)
    low, middle, high = statistics.quantiles([b.cpu_ms / a.cpu_ms for a, b in pairs], n=4)
    medians = [
        statistics.median(values)
        for values in (
            [cost.wall_ms for cost in stock],
            [cost.wall_ms for cost in ours],
            [cost.cpu_ms for cost in stock],
            [cost.cpu_ms for cost in ours],
        )
    ]
    cells = "".join(f"{value:11.2f}" for value in medians)
    top_p = "off" if case.top_p is None else f"{case.top_p:g}"
    return f"{case.vocabulary:>10}{case.batch:>7}{top_p:>7}{cells}   {middle:.2f} ({low:.2f} to {high:.2f})"


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1, help="threads of the sampler")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    print(f"\nms a step, medians of {given.rounds} rounds; {given.threads} threads")
    print(f"{'vocabulary':>10}{'batch':>7}{'top-p':>7}", end="")
    print("".join(f"{name:>11}" for name in ("vLLM wall", "ours wall", "vLLM CPU", "ours CPU")), end="")
    print("   ours / vLLM, CPU (quartiles)")
    for vocabulary, batch, top_p in product(VOCABULARIES, BATCHES, (None, TOP_P)):
        case = Case(vocabulary, batch, top_p)
        print(row(case, list(alternate(case, given.rounds))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
