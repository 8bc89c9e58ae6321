"""Runs the reference model in a thread of its own, so that the event loop never waits for it.

PyTorch releases the interpreter's lock while it computes. Audits that wait at the same time are computed
together, as many as one pass of the device takes.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType

from torch import Tensor

from shared.commitments import Point
from shared.reference_examination import Examination
from shared.reference_logits import LogitsRequest
from shared.reference_model import ReferenceModel
from validator.reference_outcomes import Found, compute

log = logging.getLogger(__name__)

MAX_WAITING = 64
"""Audits that may wait: more than run at once; a caller beyond it waits for a place."""

GATHER_S = 0.005
"""How long the first audit waits for company: little beside the pass of even a short request on a CPU, some
0.2 s (`python -m bench.audit_cost`)."""

NOTHING_READ: Mapping[int, LogitsRequest] = MappingProxyType({})

LoadReference = Callable[[], ReferenceModel]


@dataclass(frozen=True, eq=False)
class _Job:
    """One call of `examine`: an examination for each choice."""

    choices: Mapping[int, Examination]
    answer: "asyncio.Future[Found]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    @property
    def tokens(self) -> int:
        return sum(asked.length for asked in self.choices.values())

    def settle(self, outcome: "Found | Exception") -> None:
        """Hand the outcome to whoever still waits for it."""
        if self.answer.done():
            return
        if isinstance(outcome, Exception):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


class ReferenceWorker:
    """Hidden states and logits of the reference for audits.

    The model is loaded at the first pass, or by `load`.
    """

    def __init__(self, load: LoadReference, gather_s: float = GATHER_S) -> None:
        self._load_reference, self._gather_s = load, gather_s
        self._reference: ReferenceModel | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reference")
        self._places = asyncio.Semaphore(MAX_WAITING)
        self._waiting: deque[_Job] = deque()
        self._serving: asyncio.Task[None] | None = None

    async def load(self) -> ReferenceModel:
        """Load the model now.

        Raises:
            ModelError: it can't be loaded.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._loaded)

    async def hidden_states(
        self, token_ids: Mapping[int, Sequence[int]], points: Iterable[Point]
    ) -> dict[Point, Tensor]:
        """The reference's hidden vectors: `examine` without logits."""
        return await self.examine(token_ids, points)

    async def examine(
        self,
        token_ids: Mapping[int, Sequence[int]],
        points: Iterable[Point],
        logit_readers: Mapping[int, LogitsRequest] = NOTHING_READ,
    ) -> dict[Point, Tensor]:
        """The reference's hidden vectors, and its logits to their readers.

        Args:
            token_ids: prompt and output ids of each choice, by choice index.
            points: where to read; layer 0 is the embedding's output.
            logit_readers: by choice, which logits are wanted; they are read in the worker's thread, before
                this returns. What a reader raises is raised here.

        Returns:
            float32 [hidden_size] on the CPU for each point.

        Raises:
            ModelError: the model can't be loaded, does not have such a token, position or layer, or does not
                fit the device's memory together with so many tokens.
        """
        async with self._places:
            job = _Job(_by_choice(token_ids, points, logit_readers))
            self._waiting.append(job)
            if self._serving is None or self._serving.done():
                self._serving = asyncio.create_task(self._serve())
            return await job.answer

    def close(self) -> None:
        """Drop what waits; a pass that runs ends first."""
        for job in self._waiting:
            job.answer.cancel()
        if self._serving is not None:
            self._serving.cancel()
        self._executor.shutdown(cancel_futures=True)

    async def _serve(self) -> None:
        """Compute what waits, until nothing does."""
        await asyncio.sleep(self._gather_s)
        while self._waiting:
            if jobs := self._next():
                await self._serve_together(jobs)

    def _next(self) -> list[_Job]:
        """Take the jobs that have waited longest and fit one pass, but at least one."""
        budget = 0 if self._reference is None else self._reference.costs.budget_tokens
        taken: list[_Job] = []
        while self._waiting and (not taken or self._waiting[0].tokens <= budget):
            job = self._waiting.popleft()
            if not job.answer.done():
                taken.append(job)
                budget -= job.tokens
        return taken

    async def _serve_together(self, jobs: Sequence[_Job]) -> None:
        loop = asyncio.get_running_loop()
        try:
            outcomes = await loop.run_in_executor(self._executor, self._outcomes, jobs)
            for job, outcome in zip(jobs, outcomes, strict=True):
                job.settle(outcome)
        finally:
            for job in jobs:
                job.answer.cancel()

    def _outcomes(self, jobs: Sequence[_Job]) -> list[Found | Exception]:
        try:
            reference = self._loaded()
        except Exception as error:  # noqa: BLE001  the root of every job here: each hears of it
            return [error for _ in jobs]
        return compute(reference, [job.choices for job in jobs])

    def _loaded(self) -> ReferenceModel:
        if self._reference is None:
            started = time.monotonic()
            log.info("loading the reference model")
            self._reference = self._load_reference()
            log.info(
                "the reference model is loaded: %d layers, %.0f s",
                self._reference.num_layers,
                time.monotonic() - started,
            )
        return self._reference


def _by_choice(
    token_ids: Mapping[int, Sequence[int]],
    points: Iterable[Point],
    logit_readers: Mapping[int, LogitsRequest],
) -> dict[int, Examination]:
    places: dict[int, dict[int, list[int]]] = {choice: {} for choice in logit_readers}
    for point in sorted(set(points)):
        places.setdefault(point.choice, {}).setdefault(point.layer, []).append(point.position)
    return {
        choice: Examination(token_ids.get(choice, ()), by_layer, logit_readers.get(choice))
        for choice, by_layer in sorted(places.items())
    }
