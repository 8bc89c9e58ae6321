"""How far a cheat's weights are from the true ones, and how much of that is the number format's doing."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from localnet.cheats.rewriting import WeightChange, is_layer_matrix


@dataclass(frozen=True)
class ChangeSize:
    """The change of a whole model's layer matrices."""

    matrices: int
    """Matrices inside decoder layers."""

    changed: int
    """How many of them differ."""

    relative: float
    """Root of the summed squares of the change, over that of the true weights."""


def change_size(true_model: Path, other: Path) -> ChangeSize:
    """Compare two folders that hold the same tensors."""
    matrices = changed = 0
    difference = total = 0.0
    for name, weight in _matrices(true_model):
        moved = _squares(_one(other, name).to(torch.float32) - weight.to(torch.float32))
        matrices, changed = matrices + 1, changed + (moved > 0)
        difference, total = difference + moved, total + _squares(weight)
    return ChangeSize(matrices, changed, float((difference / total) ** 0.5))


def storage_rounding(true_model: Path, change: WeightChange) -> float:
    """What storing a change's result in the model's own format adds, relative to the true weights."""
    difference = total = 0.0
    for name, weight in _matrices(true_model):
        error = change(name, weight).to(torch.float32) - change(name, weight.to(torch.float32))
        difference, total = difference + _squares(error), total + _squares(weight)
    return float((difference / total) ** 0.5)


def _squares(values: Tensor) -> float:
    return float(values.to(torch.float32).pow(2).sum(dtype=torch.float64))


def _matrices(folder: Path) -> Iterator[tuple[str, Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  the reader is no mapping
                weight = tensors.get_tensor(name)
                if is_layer_matrix(name, weight):
                    yield name, weight


def _one(folder: Path, name: str) -> Tensor:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            if name in tensors.keys():  # noqa: SIM118  the reader is no mapping
                found: Tensor = tensors.get_tensor(name)
                return found
    raise KeyError(f"{folder} holds no tensor {name}")
