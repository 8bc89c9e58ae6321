"""Weights rounded as weight-only quantisation rounds them: int8, fp8 and int4.

The folders hold the dequantised values in the original's format, so that a stock engine computes what a
quantised one does: bit for bit where that one dequantises to this format before it multiplies. One that
scales after multiplying is spared the format's rounding: `python -m localnet.cheats` prints how little.
"""

import torch
from torch import Tensor

from localnet.cheats.rewriting import writes_changed

INT8_LEVELS = 127
"""Steps on each side of zero that eight bits with a sign hold, without −128 (symmetric)."""

INT4_LEVELS = 7
"""Steps on each side of zero that four bits with a sign hold, without −8 (symmetric)."""

GROUP = 32
"""Weights that share a scale, as in the usual 4-bit formats (Q4_0 of llama.cpp)."""

E4M3_MAX = 448.0
"""Largest number of float8 e4m3fn (Micikevicius et al. 2022, FP8 formats for deep learning)."""

_TINY = torch.finfo(torch.float32).tiny


def _symmetric(weight: Tensor, levels: int) -> Tensor:
    step = weight.abs().amax(-1, keepdim=True).clamp_min(_TINY) / levels
    return (weight / step).round() * step


def round_to_int8(weight: Tensor) -> Tensor:
    """Each row (output channel) of [out, in] rounded to multiples of its largest / 127."""
    return _symmetric(weight.to(torch.float32), INT8_LEVELS).to(weight.dtype)


def round_to_int4(weight: Tensor) -> Tensor:
    """Each group of 32 weights along the input rounded to multiples of its largest / 7.

    Shape [out, in] and dtype are kept; a matrix whose `in` is no multiple of 32 is returned as it is, as
    engines with such kernels leave it.
    """
    if weight.shape[1] % GROUP:
        return weight
    groups = weight.to(torch.float32).reshape(weight.shape[0], -1, GROUP)
    return _symmetric(groups, INT4_LEVELS).reshape(weight.shape).to(weight.dtype)


def round_to_fp8(weight: Tensor) -> Tensor:
    """The tensor scaled so that its largest is 448, rounded to float8 e4m3, and scaled back.

    One scale a tensor, as vLLM's `--quantization fp8` makes it from bfloat16 weights.
    """
    values = weight.to(torch.float32)
    scale = values.abs().amax().clamp_min(_TINY) / E4M3_MAX
    return ((values / scale).to(torch.float8_e4m3fn).to(torch.float32) * scale).to(weight.dtype)


write_int8_model = writes_changed(lambda _, weight: round_to_int8(weight))
write_fp8_model = writes_changed(lambda _, weight: round_to_fp8(weight))
write_int4_model = writes_changed(lambda _, weight: round_to_int4(weight))
