"""Requests to a real engine, and what comes back."""

import random
import uuid
from dataclasses import dataclass
from typing import Any

from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind
from vllm.v1.metrics.reader import get_metrics_snapshot


@dataclass(frozen=True)
class Answer:
    """One choice as the client sees it."""

    prompt: list[int]
    output: list[int]

    @property
    def tokens(self) -> list[int]:
        return self.prompt + self.output


def new_id() -> str:
    """A request id that no other request has."""
    return uuid.uuid4().hex


def prompt_of(length: int, seed: int) -> list[int]:
    """Random ordinary tokens."""
    return random.Random(seed).choices(range(100, 40_000), k=length)


async def generate(engine: Any, name: str, prompt: list[int], params: SamplingParams) -> list[Answer]:
    """Run one prompt to its end and give its choices."""
    params.output_kind = RequestOutputKind.FINAL_ONLY
    parts = [part async for part in engine.generate({"prompt_token_ids": prompt}, params, name)]
    choices = sorted(parts[-1].outputs, key=lambda choice: choice.index)
    return [Answer(prompt, list(choice.token_ids)) for choice in choices]


def preemptions() -> float:
    """How often the engine has taken a running request's memory away so far."""
    counters: Any = get_metrics_snapshot()
    return float(sum(counter.value for counter in counters if counter.name == "vllm:num_preemptions"))
