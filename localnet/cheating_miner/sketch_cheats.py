"""Cheats that commit to sketches of something else than what was computed."""

from dataclasses import replace

import torch

from localnet.cheating_miner.cheat import ChangedCapture, Cheat
from miners.hidden_states.engine_capture import CapturedChoice
from miners.service import Capture
from shared.sketches import SKETCH_BYTES


class RandomSketches(Cheat):
    """Commits to noise of the scale that honest sketches have."""

    def capture(self, capture: Capture) -> Capture:
        """Noise in the place of every sketch."""
        return RandomCapture(capture)


class RandomCapture(ChangedCapture):
    """Standard normal numbers in the place of sketches."""

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        """The positions that were captured, with noise."""
        captured = await super().collect(request_id)
        return [replace(choice, sketches=_noise(len(choice.sketches))) for choice in captured]


def _noise(size_bytes: int) -> bytes:
    return torch.randn(size_bytes // 2).to(torch.bfloat16).view(torch.uint8).numpy().tobytes()


class ReplayedSketches(Cheat):
    """Commits to an earlier request's sketches, in order, over this request's own tokens."""

    def capture(self, capture: Capture) -> Capture:
        """The sketches of the request before."""
        return ReplayedCapture(capture)


class ReplayedCapture(ChangedCapture):
    """Gives each request the sketches of the first one, repeated to its length.

    The first request is given its own: there is nothing to replay yet.
    """

    def __init__(self, capture: Capture) -> None:
        super().__init__(capture)
        self._first = b""

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        """The positions that were captured, with the first request's sketches."""
        captured = await super().collect(request_id)
        if not self._first:
            self._first = b"".join(choice.sketches for choice in captured)
            return captured
        return [replace(choice, sketches=self._replayed(choice)) for choice in captured]

    def _replayed(self, choice: CapturedChoice) -> bytes:
        """Layer by layer as it was, so that a sketch at least stands at its own layer."""
        row_bytes = self.shape.num_layers * SKETCH_BYTES
        size, rows = len(choice.sketches), max(1, len(self._first) // row_bytes)
        repeated = self._first[: rows * row_bytes] * (1 + size // (rows * row_bytes))
        return repeated[:size]
