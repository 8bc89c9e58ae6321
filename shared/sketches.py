"""Sketches: a hidden vector standardised per dimension and projected to 64 numbers.

Raw cosine between hidden vectors is dominated by a few massive dimensions (Sun et al., "Massive
Activations in Large Language Models", 2024), so a quantised model passes at 0.99. Standardising each
dimension first makes every dimension count; a random projection keeps inner products (Johnson and
Lindenstrauss, 1984) at 128 bytes a vector.
"""

import hashlib
import math
from functools import lru_cache

import torch
from torch import Tensor

from shared.errors import MalformedMessage
from shared.sketch_format import SKETCH_BYTES as SKETCH_BYTES
from shared.sketch_format import SKETCH_SIZE as SKETCH_SIZE
from shared.sketch_format import decode_base64 as decode_base64

DEVIATION_FLOOR = 1e-6
"""Deviations below this are raised to it: a dimension that never moves must not divide by zero."""

MAX_MAGNITUDE = 1e4
"""Largest absolute value of a sketch entry that is accepted. Entries of honest sketches have unit
scale; this only keeps sums of squares finite in 32-bit arithmetic."""


@lru_cache(maxsize=8)
def projection_matrix(hidden_size: int, device: str = "cpu") -> Tensor:
    """The public random projection, shape [hidden_size, 64], float32, entries ±1/8, on `device`.

    Signs are the bits of SHAKE-256, so every machine builds the same matrix.
    """
    seed = f"constantinople/projection/1|{hidden_size}".encode()
    stream = hashlib.shake_256(seed).digest(hidden_size * SKETCH_SIZE // 8)
    packed = torch.frombuffer(bytearray(stream), dtype=torch.uint8)
    bits = (packed.unsqueeze(1) >> torch.arange(8, dtype=torch.uint8)) & 1
    signs = bits.to(torch.float32).reshape(hidden_size, SKETCH_SIZE) * 2 - 1
    return (signs / math.sqrt(SKETCH_SIZE)).to(device)


def standardise(hidden: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """(hidden − mean) / deviation, per dimension, float32.

    Shapes: [..., hidden_size], broadcast against `mean` and `deviation` of [..., hidden_size].
    """
    return (hidden.to(torch.float32) - mean) / deviation.clamp_min(DEVIATION_FLOOR)


def sketch(hidden: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Sketches of hidden vectors: [..., hidden_size] → [..., 64], bfloat16, on `hidden`'s device."""
    projection = projection_matrix(hidden.shape[-1], str(hidden.device))
    return (standardise(hidden, mean, deviation) @ projection).to(torch.bfloat16)


def sketch_to_bytes(value: Tensor) -> bytes:
    """128 bytes, little-endian bfloat16, of one sketch of shape [64]."""
    return value.to(torch.bfloat16).contiguous().view(torch.uint8).cpu().numpy().tobytes()


def bfloat16_from_bytes(data: bytes, size: int) -> Tensor:
    """A float32 vector of shape [size] from little-endian bfloat16 bytes.

    Raises:
        MalformedMessage: wrong length, or an entry is NaN, infinite or absurdly large.
    """
    if len(data) != size * 2:
        raise MalformedMessage(f"a vector of {size} numbers has {size * 2} bytes, got {len(data)}")
    vector = torch.frombuffer(bytearray(data), dtype=torch.bfloat16).to(torch.float32)
    if not bool(torch.isfinite(vector).all()):
        raise MalformedMessage("the vector holds NaN or infinity")
    return vector


def sketch_from_bytes(data: bytes) -> Tensor:
    """One sketch, float32 of shape [64].

    Raises:
        MalformedMessage: wrong length, NaN, infinity, or entries beyond `MAX_MAGNITUDE`.
    """
    vector = bfloat16_from_bytes(data, SKETCH_SIZE)
    if float(vector.abs().max()) > MAX_MAGNITUDE:
        raise MalformedMessage(f"a sketch entry exceeds {MAX_MAGNITUDE:g}")
    return vector


def cosine_distance(left: Tensor, right: Tensor) -> float:
    """1 − cosine, from 0 (same direction) to 2 (opposite); 1 when a vector is zero or not finite."""
    left, right = left.to(torch.float64), right.to(torch.float64)
    norms = float(left.norm()) * float(right.norm())
    if norms == 0.0 or not math.isfinite(norms):
        return 1.0
    return 1.0 - max(-1.0, min(1.0, float(left @ right) / norms))
