"""Time and CPU time, counted per request."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import psutil  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Cost:
    """Of one request."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True)
class Served:
    """One request as an auditor sees it."""

    prompt_ids: list[int]
    output_ids: list[int]
    seed: int


class Serving(Protocol):
    """Something that serves requests at a cost."""

    async def serve(
        self, requests: int, prompt_tokens: int, output_tokens: int
    ) -> tuple[Sequence[Served], Cost]:
        """Serve requests side by side, with prompts that no cache holds."""


def cpu_seconds() -> float:
    """CPU time so far of this process and of those that it started."""
    own = psutil.Process()
    times = [process.cpu_times() for process in (own, *own.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


async def cost_of(work: Callable[[], Awaitable[Any]], requests: int) -> Cost:
    """The cost of work for so many requests, for each of them."""
    cpu_s, started = cpu_seconds(), time.perf_counter()
    await work()
    return Cost((time.perf_counter() - started) / requests, (cpu_seconds() - cpu_s) / requests)


def mean_cost(costs: Sequence[Cost]) -> Cost:
    """The mean over requests."""
    return Cost(
        sum(cost.wall_s for cost in costs) / len(costs), sum(cost.cpu_s for cost in costs) / len(costs)
    )
