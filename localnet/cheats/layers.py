"""Cheats that treat layers differently: one left out, or the last ones cheaper than the rest."""

from pathlib import Path

import torch
from torch import Tensor

from localnet.cheats.rewriting import (
    Say,
    is_layer_matrix,
    layer_of,
    number_of_layers,
    quiet,
    rewrite_model,
)
from localnet.cheats.rounding import round_to_int4
from shared.errors import ModelError

LAYER_OUTPUTS = ("self_attn.o_proj", "mlp.down_proj")
"""What a layer adds to the residual stream passes through these two (Llama, Qwen2, Mistral, Gemma)."""


LEFT_OVER = 0.02
"""What is left of the dropped layer. At nothing at all two layers would be the same to the bit, which the
miner itself takes for a broken capture and refuses to start with."""


def write_layer_dropped_model(source: Path, target: Path, say: Say = quiet, /) -> Path:
    """Write a copy whose middle layer adds next to nothing, as if it had been left out.

    Raises:
        ModelError: as `rewrite_model` does, or the layer's two output projections have other names.
    """
    dropped = number_of_layers(source) // 2
    weakened = set()

    def change(name: str, weight: Tensor) -> Tensor:
        if layer_of(name) != dropped or not any(part in name for part in LAYER_OUTPUTS):
            return weight
        weakened.add(name)
        return (weight.to(torch.float32) * LEFT_OVER).to(weight.dtype)

    rewrite_model(source, target, change, say)
    if len({name for name in weakened if name.endswith(".weight")}) != len(LAYER_OUTPUTS):
        raise ModelError(
            f"layer {dropped} of {source} has no {' and '.join(LAYER_OUTPUTS)}, so this cheat can't drop it; "
            "use a Llama or Qwen2 model, or another role"
        )
    return target


def first_cheap_layer(layers: int) -> int:
    """Where the upper third of the layers begins, from 0."""
    return layers - layers // 3


def write_suffix_model(source: Path, target: Path, say: Say = quiet, /) -> Path:
    """Write a copy that is true below and rounded to four bits in the upper third of the layers.

    Raises:
        ModelError: as `rewrite_model` does.
    """
    first = first_cheap_layer(number_of_layers(source))

    def change(name: str, weight: Tensor) -> Tensor:
        layer = layer_of(name)
        cheap = layer is not None and layer >= first and is_layer_matrix(name, weight)
        return round_to_int4(weight) if cheap else weight

    return rewrite_model(source, target, change, say)
