"""The environment in which vLLM serves well on a CPU."""

import sys
from collections.abc import Sequence
from pathlib import Path

KV_CACHE_GIB = 1
"""KV cache of one engine; a small model's 16 concurrent requests of 2,048 tokens fit."""


def _openmp_library() -> Path | None:
    library = Path(sys.prefix) / "lib" / "libiomp5.so"
    return library if library.exists() else None


def cpu_environment(cores: Sequence[int], ranks: int = 1) -> dict[str, str]:
    """Variables for one engine on `cores`, shared out among its ranks.

    They are to be laid over the caller's environment.

    Idle OpenMP threads yield at once (`KMP_BLOCKTIME=0`): with several engines on few cores, spinning
    costs a third of the throughput or more.
    """
    variables = {
        "VLLM_CPU_KVCACHE_SPACE": str(KV_CACHE_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": "|".join(_named(_share(cores, rank, ranks)) for rank in range(ranks)),
        "VLLM_NO_USAGE_STATS": "1",
        "KMP_BLOCKTIME": "0",
        "HF_HUB_OFFLINE": "1",
    }
    library = _openmp_library()
    return variables | ({"LD_PRELOAD": str(library)} if library else {})


def _share(cores: Sequence[int], rank: int, ranks: int) -> Sequence[int]:
    """The cores of one rank; ranks take turns where there are more of them than cores."""
    return cores[rank::ranks] or [cores[rank % len(cores)]]


def _named(cores: Sequence[int]) -> str:
    return ",".join(str(core) for core in cores)


def cpu_engine_flags() -> list[str]:
    """vLLM flags for one engine on a CPU."""
    return [
        *("--dtype", "bfloat16", "--max-model-len", "2048", "--max-num-seqs", "16"),
        "--enforce-eager",
    ]
