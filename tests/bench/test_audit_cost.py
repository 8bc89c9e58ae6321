"""The benchmark compares like with like: what it audits was really served; its ratios are what they say."""

import json
import subprocess
import sys
import time
from functools import lru_cache
from typing import Any

import pytest
import torch

from bench.audit_cost import (
    ALONE,
    AUDIT_ALONE,
    AUDIT_TOGETHER,
    AUDITS,
    POINTS,
    SERVING_ALONE,
    SERVING_TOGETHER,
    TOGETHER,
    WITHOUT_TOKENS,
    Audits,
    Case,
    Rounds,
    as_json,
    ratios,
    table,
)
from bench.costs import Cost, Served, cost_of, cpu_seconds, mean_cost
from bench.random_model import LOGIT_SPREAD, QWEN2_5, random_model
from bench.serving_floor import ServingFloor
from shared.reference_model import ReferenceModel
from tests.shared.small_models import LAYERS, small_model, small_reference
from validator.challenge_selection import DEFAULT_POINTS
from validator.reference_worker import ReferenceWorker

CASE = Case("a/model", "cpu", prompt_tokens=6, output_tokens=4)
SMALL_SHAPE = {**QWEN2_5["0.5b"], "vocab_size": 1000, "intermediate_size": 64, "num_hidden_layers": 2}


class FakeServing:
    """Serves the reference's own tokens or others, and notes how many requests it serves at a time."""

    def __init__(self, cheats: bool = False) -> None:
        self.cheats, self.batches = cheats, list[int]()
        self._floor = ServingFloor(small_model("qwen2"), "cpu")

    async def serve(self, requests: int, prompt_tokens: int, output_tokens: int) -> tuple[list[Served], Cost]:
        self.batches.append(requests)
        served, _ = await self._floor.serve(requests, prompt_tokens, output_tokens)
        if self.cheats:
            served = [Served(one.prompt_ids, one.output_ids[::-1], one.seed) for one in served]
        return served, Cost(float(requests), 2.0 * requests)


class Watching(ReferenceModel):
    """The small reference; notes the lengths that each pass was asked for, and whether logits were."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[int, bool]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(small_reference(), name)

    @property
    def num_layers(self) -> int:
        return LAYERS

    def examine(self, asked: Any) -> Any:
        self.calls.append([(len(one.token_ids), one.logits is not None) for one in asked])
        return small_reference().examine(asked)


async def one_round(serving: FakeServing) -> tuple[dict[str, Cost], Audits, Watching]:
    watching = Watching()
    worker = ReferenceWorker(lambda: watching, gather_s=0)
    audits = Audits(worker, (await worker.load()).num_layers)
    costs = await Rounds(CASE, serving, audits).round()
    worker.close()
    return costs, audits, watching


async def test_a_round_serves_and_audits_alone_and_together() -> None:
    serving = FakeServing()
    costs, audits, watching = await one_round(serving)
    assert list(costs) == [SERVING_ALONE, SERVING_TOGETHER, AUDIT_ALONE, AUDIT_TOGETHER, WITHOUT_TOKENS]
    assert serving.batches == [*[1] * 2 * ALONE, TOGETHER]
    assert costs[SERVING_ALONE] == Cost(1.0, 2.0)
    assert costs[SERVING_TOGETHER] == Cost(8.0, 16.0)
    assert watching.calls == [[(10, True)]] * ALONE + [[(10, True)] * TOGETHER] + [[(10, False)]] * ALONE
    assert audits.checked == (ALONE + TOGETHER) * CASE.output_tokens


async def test_honest_tokens_are_found_exact_and_others_are_not() -> None:
    _, honest_audits, _ = await one_round(FakeServing())
    _, cheats, _ = await one_round(FakeServing(cheats=True))
    assert honest_audits.exact == honest_audits.checked
    assert cheats.exact < cheats.checked * 0.75


async def test_a_cost_is_shared_out_among_its_requests() -> None:
    async def work() -> None:
        cpu_end, wall_end = cpu_seconds() + 0.05, time.perf_counter() + 0.05
        while cpu_seconds() < cpu_end or time.perf_counter() < wall_end:
            pass

    cost = await cost_of(work, 5)
    assert cost.cpu_s >= 0.0099
    assert cost.wall_s >= 0.0099


def test_the_mean_of_costs_is_taken_clock_by_clock() -> None:
    assert mean_cost([Cost(1.0, 2.0), Cost(3.0, 8.0)]) == Cost(2.0, 5.0)


def test_an_audit_reads_as_many_points_as_the_validator_opens_and_replays() -> None:
    assert POINTS == DEFAULT_POINTS + 1


def test_the_cpu_of_processes_started_here_counts() -> None:
    burn = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
    before = cpu_seconds()
    with subprocess.Popen([sys.executable, "-c", burn], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert cpu_seconds() - before >= 0.15
        child.communicate(b"\n")


@lru_cache(maxsize=1)
def measured() -> list[dict[str, Cost]]:
    base = {
        SERVING_ALONE: 10.0,
        AUDIT_ALONE: 1.0,
        SERVING_TOGETHER: 5.0,
        AUDIT_TOGETHER: 0.5,
        WITHOUT_TOKENS: 0.25,
    }
    return [{name: Cost(2 * value, value * factor) for name, value in base.items()} for factor in (1, 2, 4)]


def test_ratios_compare_every_audit_with_every_way_of_serving() -> None:
    found = ratios(CASE, measured())
    assert len(found) == 2 * len(AUDITS)
    assert found[f"{AUDIT_ALONE} / {SERVING_ALONE}"] == [0.1, 0.1, 0.1]
    assert found[f"{WITHOUT_TOKENS} / {SERVING_TOGETHER}"] == [0.05, 0.05, 0.05]


def test_a_cpu_is_judged_by_cpu_time_and_a_gpu_by_time() -> None:
    cost = Cost(wall_s=3.0, cpu_s=7.0)
    assert CASE.of(cost) == 7.0
    assert Case("m", "cuda:0", 1, 1).of(cost) == 3.0
    assert Case("m", "cuda:0", 1, 1).target < CASE.target


def test_the_table_holds_medians_ratios_and_the_share_of_exact_tokens() -> None:
    text = table(CASE, measured(), 0.9871)
    assert "0.9871" in text
    lines = {line[:45].strip(): line.split() for line in text.splitlines()}
    assert lines[SERVING_ALONE][-2:] == ["20.0000", "20.0000"]
    assert f"{AUDIT_ALONE} / {SERVING_ALONE}" in text


def test_json_holds_every_round() -> None:
    found = json.loads(as_json(CASE, measured(), 0.5))
    assert found["exact"] == 0.5
    assert found["rounds"][2][AUDIT_ALONE] == {"wall_s": 2.0, "cpu_s": 4.0}
    assert len(found["ratios"]) == 2 * len(AUDITS)


def test_a_random_model_has_logits_as_spread_as_a_real_ones() -> None:
    model = random_model(SMALL_SHAPE, "cpu")
    with torch.inference_mode():
        logits = model(torch.arange(20).unsqueeze(0)).logits[0].to(torch.float32)
    assert model.dtype == torch.bfloat16
    assert float(logits.std()) == pytest.approx(LOGIT_SPREAD, rel=0.1)
    assert torch.get_default_dtype() == torch.float32


def test_a_random_model_is_the_same_every_time() -> None:
    one, other = (random_model(SMALL_SHAPE, "cpu").state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
