"""How much memory a reference model takes, from the size of its weight files."""

from pathlib import Path

GIB = 1 << 30

FLOAT32_OF_STORED = 2.0
"""Weights are stored in 16 bits; a CPU computes the reference in 32."""

BESIDE_WEIGHTS_BYTES = 2 * GIB
"""Libraries, activations, kept prefixes, logits of an audit."""


def stored_weight_bytes(folder: Path) -> int:
    """Size of a model's weight files."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def reference_bytes(stored_bytes: int) -> int:
    """What the reference takes on a CPU, weights in float32."""
    return int(stored_bytes * FLOAT32_OF_STORED) + BESIDE_WEIGHTS_BYTES
