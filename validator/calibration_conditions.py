"""The kinds of engines that honest data is taken from: what an honest operator may choose."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AutoConfig

from shared.errors import ConfigError, ModelError
from shared.vllm_cpu import cpu_engine_flags

SMALL_STEP_TOKENS = 64
"""Tokens a step under which prompts of a hundred tokens are prefilled in several parts."""


@dataclass(frozen=True)
class Condition:
    """One kind of engine: vLLM flags that make it, and the cores or GPUs that it needs."""

    name: str
    summary: str
    flags: tuple[str, ...]
    devices: int = 1


def _cpu(name: str, summary: str, *flags: str, dtype: str = "bfloat16", devices: int = 1) -> Condition:
    common = [flag for flag in cpu_engine_flags() if flag not in ("bfloat16", "--dtype")]
    if name == "compiled":
        common.remove("--enforce-eager")
    return Condition(name, summary, ("--dtype", dtype, *common, *flags), devices)


def _small_steps() -> tuple[str, ...]:
    return ("--enable-chunked-prefill", "--max-num-batched-tokens", str(SMALL_STEP_TOKENS))


def conditions(on_cpu: bool, devices: int, ranks: int) -> tuple[Condition, ...]:
    """Every condition that a machine of so many devices can run; the first is what most miners use.

    `ranks` is the smallest number that the model's heads can be split among; 1 leaves that condition out.
    """
    split = ("--tensor-parallel-size", str(ranks))
    if on_cpu:
        every = (
            _cpu("eager", "bfloat16, eager"),
            _cpu("chunked", "bfloat16, eager, prompts in parts of 64 tokens", *_small_steps()),
            _cpu("compiled", "bfloat16, compiled"),
            _cpu("float32", "float32, eager", dtype="float32"),
            _cpu("split", f"bfloat16, eager, {ranks} tensor-parallel ranks", *split, devices=ranks),
        )
    else:
        every = (
            Condition("compiled", "the engine's defaults: compiled, CUDA graphs", ()),
            Condition("eager", "eager", ("--enforce-eager",)),
            Condition("chunked", "prompts in parts of 64 tokens", _small_steps()),
            Condition("float32", "float32, eager", ("--dtype", "float32", "--enforce-eager")),
            Condition("split", f"{ranks} tensor-parallel ranks", split, ranks),
        )
    return tuple(one for one in every if one.devices <= devices and (one.name != "split" or ranks > 1))


def fewest_ranks(model: str) -> int:
    """The smallest tensor-parallel size above 1 that the model's attention heads can be split among, or 1.

    Raises:
        ModelError: the model's configuration can't be read.
    """
    try:
        config = AutoConfig.from_pretrained(model).get_text_config()
    except (OSError, ValueError) as error:
        raise ModelError(f"the configuration of {model} can't be read: {error}") from None
    heads = int(config.num_attention_heads)
    return next((ranks for ranks in range(2, heads + 1) if heads % ranks == 0), 1)


def available_conditions(model: str) -> tuple[Condition, ...]:
    """The conditions of this machine. On a CPU each rank needs a core: ranks that share one wait for each
    other by spinning, and everything else on the machine waits for them.

    Raises:
        ModelError: the model's configuration can't be read.
    """
    on_cpu = not torch.cuda.is_available()
    devices = len(os.sched_getaffinity(0)) if on_cpu else torch.cuda.device_count()
    return conditions(on_cpu, devices, fewest_ranks(model))


def named_conditions(names: str, available: Sequence[Condition]) -> list[Condition]:
    """The conditions that a comma-separated list names; "all" is every available one.

    Raises:
        ConfigError: one is not available.
    """
    if names == "all":
        return list(available)
    by_name = {one.name: one for one in available}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in by_name]
    if unknown or not wanted:
        raise ConfigError(
            f"--conditions {names!r}: this machine can run {', '.join(by_name)} (or all of them with: all)"
        )
    return [by_name[name] for name in wanted]
