"""Runs the reference model in a thread of its own, so that the event loop never waits for it.

PyTorch releases the interpreter's lock while it computes; one pass runs at a time, on all cores.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from torch import Tensor

from shared.commitments import Point
from shared.errors import ModelError
from shared.reference_model import ReferenceModel

log = logging.getLogger(__name__)

MAX_WAITING = 64
"""Passes that may wait: more than the audits that run at once; a caller beyond it waits for a place."""

LoadReference = Callable[[], ReferenceModel]


class ReferenceWorker:
    """Hidden states of the reference for the points of an audit, one pass for each choice.

    The model is loaded at the first pass, or by `load`.
    """

    def __init__(self, load: LoadReference) -> None:
        self._load_reference = load
        self._reference: ReferenceModel | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="reference")
        self._places = asyncio.Semaphore(MAX_WAITING)

    async def load(self) -> ReferenceModel:
        """Load the model now.

        Raises:
            ModelError: it can't be loaded.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._loaded)

    async def hidden_states(
        self, token_ids: Mapping[int, Sequence[int]], points: Iterable[Point]
    ) -> dict[Point, Tensor]:
        """The reference's hidden vectors.

        Args:
            token_ids: prompt and output ids of each choice, by choice index.
            points: where to read; layer 0 is the embedding's output.

        Returns:
            float32 [hidden_size] on the CPU for each point.

        Raises:
            ModelError: the model can't be loaded, or does not have such a token, position or layer.
        """
        wanted = sorted(set(points))
        async with self._places:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._executor, self._compute, token_ids, wanted)

    def close(self) -> None:
        """Drop what waits; a pass that runs ends first."""
        self._executor.shutdown(cancel_futures=True)

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

    def _compute(self, token_ids: Mapping[int, Sequence[int]], points: list[Point]) -> dict[Point, Tensor]:
        reference = self._loaded()
        found: dict[Point, Tensor] = {}
        for choice in sorted({point.choice for point in points}):
            own = [point for point in points if point.choice == choice]
            try:
                hidden = reference.hidden_states(token_ids[choice], _by_layer(own))
            except (ValueError, LookupError) as error:
                raise ModelError(f"the reference can't compute choice {choice}: {error}") from None
            for layer, rows in hidden.items():
                places = [point for point in own if point.layer == layer]
                found |= dict(zip(places, rows, strict=True))
        return found


def _by_layer(points: Iterable[Point]) -> dict[int, list[int]]:
    positions: dict[int, list[int]] = defaultdict(list)
    for point in points:
        positions[point.layer].append(point.position)
    return positions
