"""Writing a copy of a Hugging Face folder with changed weights, one weight file at a time.

The copy has the original's files, tensor names, shapes and number format, so whatever loads the original
loads the copy.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from shared.errors import ModelError

Say = Callable[[str], None]

WeightChange = Callable[[str, Tensor], Tensor]
"""(tensor's name, its values) → the values that the copy holds, same shape and dtype."""

FULL_PRECISION = (torch.float32, torch.float16, torch.bfloat16)

_WEIGHTS = "*.safetensors"
_OTHER_WEIGHTS = ("*.bin", "*.pt", "*.pth", "*.gguf")
"""Second copies of the weights, which would belie the first."""

_LAYER = re.compile(r"\.layers\.(\d+)\.")


class WriteModel(Protocol):
    """Writes the weights of a cheat from those of the true model, and reports progress."""

    def __call__(self, source: Path, target: Path, say: Say = ..., /) -> Path:
        """Write `target` from `source` and return it."""
        ...


def quiet(_: str) -> None:
    """Reports nothing."""


def layer_of(name: str) -> int | None:
    """Which decoder layer a tensor belongs to, from 0; None for embeddings, final norm and output head."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def is_layer_matrix(name: str, weight: Tensor) -> bool:
    """Whether a tensor is a linear layer's weight inside a decoder layer.

    These are what weight-only quantisation rounds; embeddings and output head stay as they are, as vLLM,
    GPTQ and AWQ leave them.
    """
    return layer_of(name) is not None and weight.ndim == 2


def number_of_layers(source: Path) -> int:
    """Decoder layers of the model in a folder.

    Raises:
        ModelError: its config.json does not say.
    """
    try:
        return int(json.loads((source / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{source}/config.json does not give num_hidden_layers ({error!r}); point --model at the "
            "Hugging Face folder of a text model"
        ) from None


def rewrite_model(source: Path, target: Path, change: WeightChange, say: Say = quiet) -> Path:
    """Write a copy of a Hugging Face folder with every tensor passed through `change`.

    Memory: one weight file and its copy at a time.

    Raises:
        ModelError: `source` has no whole safetensors weights of 16 or 32 bits, or `target` can't be written.
    """
    files = sorted(source.glob(_WEIGHTS))
    if not files:
        raise ModelError(f"{source} holds no {_WEIGHTS} weights; point --model at a Hugging Face folder")
    try:
        left_out = shutil.ignore_patterns(_WEIGHTS, *_OTHER_WEIGHTS)
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=left_out)
        for number, file in enumerate(files, start=1):
            save_file(_changed(file, change), target / file.name, metadata={"format": "pt"})
            say(f"  {number} of {len(files)} weight files written")
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"{source} can't be copied to {target} with changed weights: {error}; check that the disk has "
            "room and that the weight files are whole"
        ) from None
    return target


def writes_changed(change: WeightChange) -> WriteModel:
    """A writer of copies whose matrices in decoder layers all pass through `change`."""

    def of_matrices(name: str, weight: Tensor) -> Tensor:
        return change(name, weight) if is_layer_matrix(name, weight) else weight

    def write(source: Path, target: Path, say: Say = quiet, /) -> Path:
        return rewrite_model(source, target, of_matrices, say)

    return write


def _changed(file: Path, change: WeightChange) -> dict[str, Tensor]:
    tensors = load_file(file)
    _check_precision(file, tensors.items())
    # Each original is let go as soon as its copy exists, so that a file is never held twice.
    return {name: change(name, tensors.pop(name)).contiguous() for name in list(tensors)}


def _check_precision(file: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    for name, weight in tensors:
        if is_layer_matrix(name, weight) and weight.dtype not in FULL_PRECISION:
            raise ModelError(
                f"{name} in {file} is stored as {weight.dtype}, so the model is quantised already; "
                "start from its weights in bfloat16, float16 or float32"
            )
