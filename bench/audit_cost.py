"""What an audit costs beside what serving the request cost: same model, same device, one run, taking turns.

    python -m bench.audit_cost [--model FOLDER | --random-weights 7b] [--device cuda] [--floor] [--json]

Serving is vLLM as a miner runs it, or with `--floor` the least that any engine must spend. An audit is the
reference's pass with everything that is read from it: hidden states at its points and the margin of every
output token. Beside it stands an audit whose tokens can't be checked, which stops at its deepest point. On a
CPU costs are CPU-seconds of all threads and processes, which other processes on the machine disturb least; on
a GPU they are seconds.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from bench.costs import Cost, Served, Serving, cost_of, mean_cost
from bench.quartiles import spread
from bench.random_model import QWEN2_5, build_random_model
from bench.serving_floor import TEMPERATURE, TOP_P, ServingFloor
from localnet.config import PROJECT_ROOT
from localnet.demo_model import DEMO_MODEL, build_demo_model
from shared.commitments import Point
from shared.reference_logits import LogitsRequest
from shared.reference_model import ReferenceModel
from shared.vllm_cpu import cpu_environment
from validator.output_tokens import OutputTokens
from validator.reference_worker import ReferenceWorker
from validator.sampling_rules import SamplingRule

TOGETHER = 8
"""Requests served, and audited, side by side."""

ALONE = 2
"""Requests served, and audited, one after another in each round."""

POINTS = 33
"""As many as an audit opens, and the replayed one (`validator/challenge_selection.py`)."""

TARGETS = {"cpu": 1 / 5, "cuda": 1 / 25}
"""What an audit may cost, over what serving the request cost."""

SERVING_ALONE, SERVING_TOGETHER = "serving, alone", f"serving, {TOGETHER} together"
AUDIT_ALONE, AUDIT_TOGETHER = "audit, alone", f"audit, {TOGETHER} together"
WITHOUT_TOKENS = "audit without tokens, alone"
AUDITS = (AUDIT_ALONE, AUDIT_TOGETHER, WITHOUT_TOKENS)


@dataclass(frozen=True)
class Case:
    """What is measured: model, device and lengths."""

    model: str
    device: str
    prompt_tokens: int
    output_tokens: int

    @property
    def on_gpu(self) -> bool:
        return torch.device(self.device).type != "cpu"

    @property
    def target(self) -> float:
        return TARGETS["cuda" if self.on_gpu else "cpu"]

    def of(self, cost: Cost) -> float:
        """The seconds that count on this device."""
        return cost.wall_s if self.on_gpu else cost.cpu_s


class Audits:
    """Audits served requests, and counts how many tokens the reference draws too."""

    def __init__(self, worker: ReferenceWorker, num_layers: int) -> None:
        self._worker, self._num_layers = worker, num_layers
        self._random = random.Random(0)
        self.checked, self.exact = 0, 0

    async def audit(self, served: Served, with_tokens: bool = True) -> None:
        """One audit as `validator/audit.py` does it, once the miner has answered."""
        token_ids = [*served.prompt_ids, *served.output_ids]
        readers: Mapping[int, LogitsRequest] = {}
        if with_tokens:
            margins = _margins(served)
            readers = {0: LogitsRequest(margins.first_position, margins.last_position, margins.read)}
        await self._worker.examine({0: token_ids}, self._points(len(token_ids)), readers)
        if with_tokens:
            found = margins.margins()
            self.checked += len(found)
            self.exact += int((found == 0).sum())

    def _points(self, tokens: int) -> list[Point]:
        """Anywhere in the request."""
        layers = range(1, self._num_layers + 1)
        return [
            Point(0, self._random.randrange(tokens - 1), self._random.choice(layers)) for _ in range(POINTS)
        ]


def _margins(served: Served) -> OutputTokens:
    rule = SamplingRule(
        temperature=TEMPERATURE,
        top_p=TOP_P,
        max_tokens=len(served.output_ids),
        ignore_eos=True,
        seed=served.seed,
    )
    return OutputTokens(rule, served.prompt_ids, served.output_ids)


class Rounds:
    """Serves and audits in turn; what is audited was served just before, and is audited once."""

    def __init__(self, case: Case, serving: Serving, audits: Audits) -> None:
        self._case, self._serving, self._audits = case, serving, audits

    async def round(self) -> dict[str, Cost]:
        """Costs of one request, by what was done."""
        alone, costs = await self._serve_alone()
        unchecked, more_costs = await self._serve_alone()
        together, together_cost = await self._serve(TOGETHER)
        return {
            SERVING_ALONE: mean_cost([*costs, *more_costs]),
            SERVING_TOGETHER: together_cost,
            AUDIT_ALONE: await cost_of(lambda: self._audit_alone(alone, True), ALONE),
            AUDIT_TOGETHER: await cost_of(lambda: self._audit_together(together), TOGETHER),
            WITHOUT_TOKENS: await cost_of(lambda: self._audit_alone(unchecked, False), ALONE),
        }

    async def _serve(self, requests: int) -> tuple[Sequence[Served], Cost]:
        return await self._serving.serve(requests, self._case.prompt_tokens, self._case.output_tokens)

    async def _serve_alone(self) -> tuple[list[Served], list[Cost]]:
        answers = [await self._serve(1) for _ in range(ALONE)]
        return [served[0] for served, _ in answers], [cost for _, cost in answers]

    async def _audit_alone(self, served: Sequence[Served], with_tokens: bool) -> None:
        for one in served:
            await self._audits.audit(one, with_tokens)

    async def _audit_together(self, served: Sequence[Served]) -> None:
        await asyncio.gather(*(self._audits.audit(one) for one in served))


def ratios(case: Case, rounds: Sequence[Mapping[str, Cost]]) -> dict[str, list[float]]:
    """Audit over serving, round by round, by pair of kinds."""
    pairs = [(audit, serving) for serving in (SERVING_ALONE, SERVING_TOGETHER) for audit in AUDITS]
    return {
        f"{audit} / {serving}": [case.of(costs[audit]) / case.of(costs[serving]) for costs in rounds]
        for audit, serving in pairs
    }


def table(case: Case, rounds: Sequence[Mapping[str, Cost]], exact: float) -> str:
    """Medians of the costs, and the ratios with their quartiles."""
    kind = "seconds" if case.on_gpu else "CPU-seconds"
    lines = [
        f"{Path(case.model).name} on {case.device}, {case.prompt_tokens} + {case.output_tokens} tokens, "
        f"{len(rounds)} rounds; the reference draws {exact:.4f} of the tokens too",
        f"{'for each request, median':45}{'seconds':>12}{'CPU-seconds':>14}",
    ]
    for name in rounds[0]:
        wall_s, cpu_s = (
            statistics.median(getattr(costs[name], clock) for costs in rounds)
            for clock in ("wall_s", "cpu_s")
        )
        lines.append(f"{name:45}{wall_s:12.4f}{cpu_s:14.4f}")
    lines.append(f"{'ratio of ' + kind + ' (quartiles)':45}{'target: at most ' + f'{case.target:.2f}':>26}")
    lines += [f"{name:57}{spread(values):>24}" for name, values in ratios(case, rounds).items()]
    return "\n".join(lines)


def as_json(case: Case, rounds: Sequence[Mapping[str, Cost]], exact: float) -> str:
    """All rounds, for a machine to read."""
    costs = [{name: asdict(cost) for name, cost in each.items()} for each in rounds]
    return json.dumps({**asdict(case), "exact": exact, "rounds": costs, "ratios": ratios(case, rounds)})


@asynccontextmanager
async def serving(case: Case, floor: bool) -> AsyncIterator[Serving]:
    """vLLM, or what stands in for it."""
    if floor:
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(case.model, dtype=torch.bfloat16)
        yield ServingFloor(model.to(case.device), case.device)
        return
    from bench.served_requests import serving_engine

    async with serving_engine(case.model, case.on_gpu) as engine:
        yield engine


async def measure(case: Case, given: argparse.Namespace) -> tuple[list[dict[str, Cost]], float]:
    """So many rounds after one that warms up, and the share of tokens that the reference draws too."""
    dtype: torch.dtype | None = getattr(torch, given.dtype) if given.dtype else None
    worker = ReferenceWorker(lambda: ReferenceModel.load(case.model, case.device, dtype), gather_s=0)
    try:
        async with serving(case, given.floor) as server:
            audits = Audits(worker, (await worker.load()).num_layers)
            turns = Rounds(case, server, audits)
            await turns.round()
            costs = [await turns.round() for _ in range(given.rounds)]
        return costs, audits.exact / audits.checked
    finally:
        worker.close()


def main() -> int:
    """Measure and print the table."""
    given = _parser().parse_args()
    cores = [int(core) for core in given.cores.split(",")]
    if torch.device(given.device).type == "cpu":
        os.environ.update(cpu_environment(cores))
        torch.set_num_threads(len(cores))
    models = PROJECT_ROOT / ".localnet" / "models"
    if given.random_weights:
        folder = models / f"random-qwen2.5-{given.random_weights}"
        model = str(build_random_model(given.random_weights, folder, given.device))
    else:
        model = given.model or str(build_demo_model(models / DEMO_MODEL))
    case = Case(model, given.device, given.prompt_tokens, given.output_tokens)
    rounds, exact = asyncio.run(measure(case, given))
    print((as_json if given.json else table)(case, rounds, exact))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", default="", help="a local folder; the demo model when not given")
    model.add_argument(
        "--random-weights", choices=tuple(QWEN2_5), help="Qwen2.5 of this size, random weights"
    )
    parser.add_argument("--device", default="cpu", help="of engine and reference: cpu or cuda")
    parser.add_argument("--dtype", default="", help="the reference's; float32 on a CPU, else bfloat16")
    parser.add_argument("--floor", action="store_true", help="without vLLM: bench/serving_floor.py stands in")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6, help="two at least: a ratio has quartiles")
    parser.add_argument(
        "--cores", default="0,1", help="cores of the engine on a CPU; the reference has as many"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, all rounds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
