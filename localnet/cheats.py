"""Models for miners that cheat: the demo model with its weights rounded to four bits."""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.errors import ModelError

GROUP = 32
"""Weights that share a scale, as in the usual 4-bit formats (Q4_0 of llama.cpp)."""

LEVELS = 7
"""Steps on each side of zero that four bits with a sign hold."""

_NOT_LINEAR = ("embed_tokens", "norm", "bias")


def round_to_int4(weight: Tensor) -> Tensor:
    """Each group of 32 weights along the input rounded to multiples of its largest / 7.

    Shape [out, in] and dtype are kept; `in` must be a multiple of 32.
    """
    groups = weight.to(torch.float32).reshape(weight.shape[0], -1, GROUP)
    step = groups.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / LEVELS
    return ((groups / step).round() * step).reshape(weight.shape).to(weight.dtype)


def _is_linear(name: str, weight: Tensor) -> bool:
    return weight.ndim == 2 and weight.shape[1] % GROUP == 0 and not any(part in name for part in _NOT_LINEAR)


def write_int4_model(source: Path, target: Path) -> Path:
    """Write a copy of a Hugging Face folder whose linear weights are rounded to four bits.

    The copy loads and runs like the original: numbers stay in the original's format, only their values
    are those that a 4-bit model computes with.

    Raises:
        ModelError: `source` has no safetensors weights.
    """
    weights = sorted(source.glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{source} holds no *.safetensors weights")
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.safetensors"))
    for file in weights:
        tensors = {
            name: round_to_int4(weight) if _is_linear(name, weight) else weight
            for name, weight in load_file(file).items()
        }
        save_file(tensors, target / file.name, metadata={"format": "pt"})
    return target
