"""The worker's sampling: makes the engine draw tokens with the noise that receipts name.

vLLM's second model runner draws seeded requests with that noise already (`v1/worker/gpu/sample/sampler.py`:
a step with a seeded request takes neither FlashInfer nor the XPU kernel). The first one, which also serves
CPUs, draws from a generator of the device; here it is given ours. `shared/sampling_noise.py` holds the noise.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor

from shared.errors import ModelError
from shared.sampling_noise import choice_seed, gumbel_noise, sampled_tokens

_PROCESSOR_PLUGINS = "vllm.logits_processors"
"""vLLM loads every entry point of this group into every engine."""

_ANY_SEED = (-(1 << 63), (1 << 63) - 1)

_PROBES, _PROBED_VOCABULARY = 16, 3000
"""Rows and tokens of the check of a kernel: more than two of the kernel's blocks of 1024 tokens."""


def check_sampling_config(vllm_config: Any) -> None:
    """Refuse an engine whose tokens an auditor could not rebuild.

    Raises:
        ModelError: names what changes the tokens, and the cure.
    """
    model = vllm_config.model_config
    plugins = ", ".join(sorted({plugin.value for plugin in entry_points(group=_PROCESSOR_PLUGINS)}))
    unverifiable = {
        "--use-fp64-gumbel; leave it off": model.use_fp64_gumbel,
        "--logits-processors; leave it out": bool(model.logits_processors),
        f"the installed logits processor {plugins}; uninstall its package": bool(plugins),
        "--enable-trace-replay; leave it off": model.enable_trace_replay,
        "watermarking (--watermark-config); leave it off": vllm_config.watermark_config is not None,
        "--generation-config; leave it at auto, the model's own": model.generation_config != "auto",
        "--override-generation-config; leave it out": bool(model.override_generation_config),
    }
    for reason, present in unverifiable.items():
        if present:
            raise ModelError(f"the tokens can't be verified with {reason}")


def install_noise(runner: Any) -> None:
    """Give a first-generation model runner the noise, and check the kernel of a second-generation one.

    On every rank: the ranks of a tensor-parallel engine each sample, and must agree. Again changes nothing.

    Raises:
        ModelError: the second runner's kernel draws other noise.
    """
    if not hasattr(runner, "_prepare_inputs"):
        from vllm.v1.worker.gpu.sample.gumbel import gumbel_sample

        check_kernel(gumbel_sample, runner.device)
        return
    sampler = runner.sampler.topk_topp_sampler
    if not isinstance(sampler.forward, SeededSampling):
        sampler.forward = SeededSampling(runner, sampler.forward)


def check_kernel(gumbel_sample: Callable[..., Tensor], device: torch.device) -> None:
    """Draw some tokens with vLLM's kernel, from equal logits so that only the noise decides.

    Raises:
        ModelError: they are not those that an auditor expects.
    """
    seeds = torch.tensor([choice_seed(0x9E3779B97F4A7C15 * row, 0) for row in range(_PROBES)], device=device)
    positions = torch.arange(_PROBES, device=device) * 997
    drawn = gumbel_sample(
        torch.zeros(_PROBES, _PROBED_VOCABULARY, device=device),
        torch.arange(_PROBES, dtype=torch.int32, device=device),
        torch.ones(_PROBES, device=device),
        seeds,
        positions,
        apply_temperature=False,
        is_drafting=False,
    )
    expected = gumbel_noise(seeds, positions, _PROBED_VOCABULARY).argmax(dim=1)
    if not torch.equal(drawn.cpu(), expected.cpu()):
        raise ModelError(
            "this vLLM's sampler draws other noise than receipts promise, so audits would fail; "
            "install the version in miners/requirements.txt"
        )


class SeededSampling:
    """Stands in for `TopKTopPSampler.forward` of the first runner's sampler.

    Args:
        stock: what it stands in for; keeps the steps that have no seeded request.
    """

    def __init__(self, runner: Any, stock: Callable[..., tuple[Tensor, Tensor | None]]) -> None:
        self._runner, self._stock = runner, stock

    def __call__(
        self, logits: Tensor, generators: Any, top_k: Tensor | None, top_p: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(sampled tokens int64 [rows], processed logits or logprobs if the engine wants them)."""
        batch = self._runner.input_batch
        # Nothing is drawn from generators, and vLLM 0.32 would wind them back after a partial prefill, which
        # ends the engine on a CPU.
        batch.generators.clear()
        parameters = [self._runner.requests[name].sampling_params for name in batch.req_ids[: batch.num_reqs]]
        if not any(_is_seeded(one) for one in parameters):
            return self._stock(logits, {}, top_k, top_p)
        return self._draw(_kept(logits, top_k, top_p), parameters)

    def _draw(self, logits: Tensor, parameters: Sequence[Any]) -> tuple[Tensor, Tensor | None]:
        rows = torch.tensor([row for row, one in enumerate(parameters) if not _is_greedy(one)])
        seeds = torch.tensor([_seed(parameters[row]) for row in rows.tolist()])
        positions = self._runner.optimistic_seq_lens_cpu[rows].to(torch.int64) - 1
        rows, seeds, positions = (values.to(logits.device) for values in (rows, seeds, positions))
        drawn = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        picked = logits if len(rows) == len(logits) else logits[rows]
        drawn[rows] = sampled_tokens(picked, seeds, positions)
        return drawn, self._wanted(logits)

    def _wanted(self, logits: Tensor) -> Tensor | None:
        mode = self._runner.sampler.topk_topp_sampler.logprobs_mode
        if mode == "processed_logprobs":
            return logits.log_softmax(dim=-1, dtype=torch.float32)
        return logits if mode == "processed_logits" else None


def _kept(logits: Tensor, top_k: Tensor | None, top_p: Tensor | None) -> Tensor:
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

    kept: Tensor = apply_top_k_top_p(logits, top_k, top_p)
    return kept.to(torch.float32)


def _is_seeded(parameters: Any) -> bool:
    return bool(parameters.sampling_type.name == "RANDOM_SEED")


def _is_greedy(parameters: Any) -> bool:
    return bool(parameters.sampling_type.name == "GREEDY")


def _seed(parameters: Any) -> int:
    """The seed of a choice (vLLM has counted up from the request's); a fresh one when it has none.

    Fresh seeds come from torch's own generator, which stands alike in all tensor-parallel ranks.
    """
    if _is_seeded(parameters):
        return choice_seed(int(parameters.seed), 0)
    return int(torch.randint(*_ANY_SEED, ()))
