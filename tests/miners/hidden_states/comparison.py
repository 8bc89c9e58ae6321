"""Captured sketches and vectors, compared with the reference model's."""

from collections.abc import Sequence

import torch
from torch import Tensor

from miners.hidden_states.engine_capture import CapturedChoice
from shared.calibration import Calibration
from shared.reference_model import ReferenceModel
from shared.sketches import SKETCH_BYTES, cosine_distance, sketch, sketch_from_bytes

HONEST_DISTANCE = 0.0005
"""Above every distance between bfloat16 vLLM and the float32 reference on the random model (0.00004)."""

WRONG_DISTANCE = 0.01
"""Below every distance to a neighbour token's or another layer's sketch (0.035)."""


class Comparison:
    """Distances between what the engine captured and what the reference computes."""

    def __init__(self, reference: ReferenceModel, calibration: Calibration) -> None:
        self.reference, self.calibration = reference, calibration
        self.num_layers = reference.num_layers

    def reference_sketches(self, tokens: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Float32 [positions, num_layers, 64]."""
        layers = range(1, self.num_layers + 1)
        taken = self.reference.hidden_states(tokens, dict.fromkeys(layers, positions))
        sketched = [sketch(taken[layer], *self.calibration.layer(layer)) for layer in layers]
        return torch.stack(sketched, dim=1).to(torch.float32)

    def distances(self, captured: CapturedChoice, tokens: Sequence[int], shift: int = 0) -> Tensor:
        """Distance of each captured sketch to the reference `shift` positions on: [positions, num_layers]."""
        positions = [position + shift for position in captured.positions]
        expected = self.reference_sketches(tokens, positions)
        actual = captured_sketches(captured, self.num_layers)
        return pairwise_distances(actual, expected)

    def layer_shifted_distances(self, captured: CapturedChoice, tokens: Sequence[int]) -> Tensor:
        """Distance of each captured sketch to the reference's next layer: [positions, num_layers - 1]."""
        expected = self.reference_sketches(tokens, captured.positions)
        return pairwise_distances(captured_sketches(captured, self.num_layers)[:, :-1], expected[:, 1:])


def captured_sketches(captured: CapturedChoice, num_layers: int) -> Tensor:
    """Float32 [positions, num_layers, 64]."""
    data, step = captured.sketches, SKETCH_BYTES
    assert len(data) == len(captured.positions) * num_layers * step
    sketches = [sketch_from_bytes(data[start : start + step]) for start in range(0, len(data), step)]
    return torch.stack(sketches).reshape(len(captured.positions), num_layers, -1)


def pairwise_distances(left: Tensor, right: Tensor) -> Tensor:
    """Cosine distance of corresponding last dimensions."""
    flat = zip(left.flatten(0, -2), right.flatten(0, -2), strict=True)
    return torch.tensor([cosine_distance(a, b) for a, b in flat]).reshape(left.shape[:-1])
