"""Small folders of weights, and what differs between two of them."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a Llama or Qwen2 decoder layer."""


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """Every tensor of every weight file of a folder."""
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def changed_names(one: Path, other: Path) -> set[str]:
    """The tensors whose values differ; both folders must hold the same names, shapes and dtypes."""
    a, b = tensors_of(one), tensors_of(other)
    assert {name: (t.shape, t.dtype) for name, t in a.items()} == {
        n: (t.shape, t.dtype) for n, t in b.items()
    }
    return {name for name in a if not torch.equal(a[name], b[name])}


def matrices_of_layers(folder: Path, layers: range) -> set[str]:
    """The names of every linear layer's weight in these decoder layers."""
    return {
        name
        for name in tensors_of(folder)
        if any(f".layers.{n}." in name for n in layers) and name.split(".")[-2] in MATRICES
        if name.endswith(".weight")
    }


def write_folder(folder: Path, files: dict[str, dict[str, Tensor]], **config: object) -> Path:
    """A folder with these weight files and this config.json."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name, tensors in files.items():
        save_file(tensors, folder / name, metadata={"format": "pt"})
    return folder


def random_weight(*shape: int, seed: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers, the same on every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
