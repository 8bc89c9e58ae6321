"""vLLM's own noise functions, read from the installed source and run over numpy instead of Triton.

The stand-in keeps to what those functions use: lanes of a fixed width that wrap around, casts with `.to`,
and Python numbers that take the width of the lanes they meet.
"""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

GUMBEL_SOURCE = "v1/worker/gpu/sample/gumbel.py"
TRITON_IMPORT = "from vllm.triton_utils import tl, triton\n"


class Lanes(np.ndarray[Any, Any]):
    """A Triton tensor's behaviour: a value never changes, `h ^= x` makes a new one."""

    def to(self, kind: Any) -> "Lanes":
        """A cast; integers keep their low bits."""
        return self.astype(kind).view(Lanes)

    def __ixor__(self, other: Any) -> Any:  # type: ignore[misc]
        return self ^ other

    def __imul__(self, other: Any) -> Any:  # type: ignore[misc]
        return self * other


def lanes(values: Any) -> Lanes:
    """64-bit signed lanes."""
    return np.asarray(values, dtype=np.int64).view(Lanes)


def _constant(value: Any) -> Any:
    return value


STAND_IN = SimpleNamespace(
    constexpr=_constant,
    int32=np.int32,
    int64=np.int64,
    uint32=np.uint32,
    uint64=np.uint64,
    float32=np.float32,
    float64=np.float64,
    log=np.log,
    maximum=np.maximum,
    where=lambda mask, left, right: np.where(mask, left, right).view(Lanes),
)


def kernel_functions() -> dict[str, Any]:
    """The functions of vLLM's gumbel.py by name; skips the test where vLLM is not installed."""
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        pytest.skip("vLLM is not installed, so there is no kernel source to compare with")
    source = (Path(found.submodule_search_locations[0]) / GUMBEL_SOURCE).read_text()
    assert TRITON_IMPORT in source
    names: dict[str, Any] = {"tl": STAND_IN, "triton": SimpleNamespace(jit=_constant), "torch": torch}
    exec(compile(source.replace(TRITON_IMPORT, ""), GUMBEL_SOURCE, "exec"), names)
    return names
