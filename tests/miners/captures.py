"""Captures as an engine would give them, with sketches drawn from their place."""

from collections.abc import Sequence

import torch

from miners.hidden_states.engine_capture import CapturedChoice
from shared.challenges import ReplayPoint
from shared.committed_positions import committed_positions
from shared.sketches import sketch_to_bytes

NUM_LAYERS = 3


def _sketch(index: int, position: int, layer: int) -> bytes:
    generator = torch.Generator().manual_seed(index * 1_000_000 + position * 1000 + layer)
    return sketch_to_bytes(torch.randn(64, generator=generator))


def captured(request_id: str, index: int, prompt: int, output: int, cached: int = 0) -> CapturedChoice:
    """What is captured of a choice of these lengths in tokens."""
    positions = committed_positions(request_id, index, prompt, output, cached)
    places = [(position, layer) for position in positions for layer in range(1, NUM_LAYERS + 1)]
    sketches = b"".join(_sketch(index, position, layer) for position, layer in places)
    return CapturedChoice(index, cached, tuple(positions), sketches)


class RecordedCaptures:
    """Captures by request id, collected once."""

    def __init__(self, held: dict[str, list[CapturedChoice]]) -> None:
        self.held = held
        self.discarded: list[str] = []

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        return self.held.pop(request_id, [])

    async def discard(self, request_id: str) -> None:
        self.held.pop(request_id, None)
        self.discarded.append(request_id)


class RecordedReplays:
    """Replays that answer each point with bytes of its own."""

    def __init__(self, longest: int = 100) -> None:
        self._longest = longest

    async def replay(self, token_ids: Sequence[int], points: Sequence[ReplayPoint]) -> list[bytes]:
        if len(token_ids) > self._longest:
            raise ValueError(f"{len(token_ids)} tokens can't be replayed")
        return [bytes([point.layer, point.position] * 8) for point in points]
