"""Weights with Gaussian noise: the smallest general change that isn't a rounding."""

import hashlib
from functools import partial

import torch
from torch import Tensor

from localnet.cheats.rewriting import WriteModel, writes_changed


def with_noise(name: str, weight: Tensor, relative: float) -> Tensor:
    """Each weight times 1 + relative · n, n standard normal; the same for the same name on every run.

    The result is rounded to the original's format: in bfloat16 by up to 2⁻⁹ of each weight.
    """
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little", signed=True)
    normal = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
    return (weight.to(torch.float32) * (1 + relative * normal)).to(weight.dtype)


def writes_noisy(relative: float) -> WriteModel:
    """A writer of copies with noise of this relative size on every matrix in a decoder layer."""
    return writes_changed(partial(with_noise, relative=relative))
