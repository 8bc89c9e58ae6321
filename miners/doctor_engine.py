"""Whether vLLM is here with this project's plugins, and the engine fits."""

from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from miners.config import VLLM_PLUGINS, MinerConfig
from miners.preparation import SEGMENTS_A_WINDOW
from shared.diagnosis import Finding, bad, ok
from shared.diagnosis_machine import GIB, Gpu, judge_disk, judge_gpu, judge_memory

PLUGIN_GROUPS: Mapping[str, str] = dict(
    zip(("vllm.general_plugins", "vllm.endpoint_plugins"), VLLM_PLUGINS, strict=True)
)
"""Where vLLM looks, and what it must find there."""

VLLM_MEMORY_SHARE = 0.9
"""vLLM's own --gpu-memory-utilization."""

BESIDE_WEIGHTS_BYTES = 2 * GIB
"""Activations, CUDA graphs and the least cache that serves a context of 2,048 tokens."""

Names = Callable[[str], Collection[str]]


def entry_point_names(group: str) -> Collection[str]:
    """Names of the installed entry points of a group."""
    return entry_points(group=group).names


def judge_plugins(names: Names = entry_point_names) -> Finding:
    """Whether vLLM will find this project's plugins."""
    missing = [name for group, name in PLUGIN_GROUPS.items() if name not in names(group)]
    if missing:
        return bad(
            "plugins",
            f"vLLM does not find this project's {' and '.join(missing)}: answers would have no receipts",
            "install the project into the Python that runs the miner: pip install --no-deps -e .",
        )
    return ok("plugins", f"vLLM finds {' and '.join(PLUGIN_GROUPS.values())}")


def judge_engine_gpus(
    gpus: Sequence[Gpu], config: MinerConfig, stored_bytes: int, runs: bool
) -> Sequence[Finding]:
    """Room on each GPU for its share of the weights, and vLLM's share of the GPU still free."""
    share = config.gpu_memory_utilization or VLLM_MEMORY_SHARE
    needed = stored_bytes // config.tensor_parallel_size + BESIDE_WEIGHTS_BYTES
    found = []
    for number in range(config.tensor_parallel_size):
        if number < len(gpus) and needed > share * gpus[number].total_bytes:
            words = f"{needed / GIB:.1f} GiB are needed, {share:.0%} of {gpus[number].name} are not so much"
            cure = "raise --gpu-memory-utilization, spread with --tensor-parallel-size, or use a larger GPU"
            found.append(bad("gpu", words, cure))
            continue
        reserved = int(share * gpus[number].total_bytes) if number < len(gpus) else needed
        found.append(judge_gpu(gpus, number, reserved, "vLLM with its cache", free=not runs))
    return found


def judge_engine_memory(available_bytes: int | None, stored_bytes: int, runs: bool) -> Sequence[Finding]:
    """Room for an engine that runs on the CPU."""
    if runs or available_bytes is None:
        return []
    return [judge_memory(available_bytes, stored_bytes + BESIDE_WEIGHTS_BYTES, "vLLM on the CPU")]


def judge_commitment_disk(config: MinerConfig, free_bytes: int, writable: bool) -> Finding:
    """Room for commitments, counting those that lie there."""
    folder = config.state_dir.expanduser()
    most = (config.commitment_memory_mib << 20) * (SEGMENTS_A_WINDOW + 1) // SEGMENTS_A_WINDOW
    return judge_disk(folder, free_bytes, writable, max(GIB, most - _held_bytes(folder / "commitments")))


def _held_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
