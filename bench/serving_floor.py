"""Serving where there is no vLLM: honest tokens, and the least that any engine must spend on them.

The tokens are drawn with transformers, uncounted. What counts is only the matrix products of the decode steps
at this batch size, on a GPU replayed as one CUDA graph: no prefill, no attention, no sampling, no scheduler.
So a ratio over it is larger than over any engine that computes these products in bfloat16.
"""

import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.costs import Cost, Served, cost_of
from shared.sampling_noise import gumbel_noise

TEMPERATURE, TOP_P = 0.8, 0.95
RESERVED_TOKENS = 100
"""Ids at both ends of a vocabulary that prompts leave out: special tokens lie there."""


def random_prompt(source: random.Random, vocabulary_size: int, tokens: int) -> list[int]:
    """Ordinary token ids at random."""
    reserved = min(RESERVED_TOKENS, vocabulary_size // 4)
    return source.choices(range(reserved, vocabulary_size - reserved), k=tokens)


class ServingFloor:
    """Draws tokens with a bfloat16 model of transformers."""

    def __init__(self, model: Any, device: str) -> None:
        self._model, self._device = model.eval(), torch.device(device)
        self._random = random.Random(0)

    async def serve(self, requests: int, prompt_tokens: int, output_tokens: int) -> tuple[list[Served], Cost]:
        """Serve requests side by side; the cost is that of the matrix products alone."""
        vocabulary_size = self._model.config.vocab_size
        prompts = [random_prompt(self._random, vocabulary_size, prompt_tokens) for _ in range(requests)]
        seeds = [self._random.getrandbits(31) for _ in range(requests)]
        outputs = self._drawn(torch.tensor(prompts), torch.tensor(seeds), output_tokens)
        served = [Served(*one) for one in zip(prompts, outputs.tolist(), seeds, strict=True)]
        return served, await self._floor(requests, output_tokens)

    @torch.inference_mode()
    def _drawn(self, prompts: Tensor, seeds: Tensor, output_tokens: int) -> Tensor:
        """Output ids [requests, output_tokens], as the verifiable sampler draws them."""
        inputs, cache, drawn = prompts.to(self._device), None, []
        for step in range(output_tokens):
            output = self._model(inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache = output.past_key_values
            scores = _kept(output.logits[:, -1].to(torch.float32) / TEMPERATURE)
            positions = torch.full_like(seeds, prompts.shape[1] - 1 + step)
            noise = gumbel_noise(seeds.to(self._device), positions.to(self._device), scores.shape[1])
            inputs = (scores + noise).argmax(dim=1, keepdim=True)
            drawn.append(inputs)
        return torch.cat(drawn, dim=1).cpu()

    @torch.inference_mode()
    async def _floor(self, requests: int, steps: int) -> Cost:
        products = _Products(self._model, requests, self._device)
        step = products.replayed() if self._device.type == "cuda" else products.run

        async def all_steps() -> None:
            for _ in range(steps):
                step()
            if self._device.type == "cuda":
                torch.cuda.synchronize()

        await all_steps()
        return await cost_of(all_steps, requests)


def _kept(scores: Tensor) -> Tensor:
    """The scores with what top-p drops at −∞."""
    ordered, order = scores.sort(dim=1)
    dropped = ordered.softmax(dim=1).cumsum(dim=1) <= 1 - TOP_P
    return scores.masked_fill(dropped.scatter(1, order, dropped), -torch.inf)


class _Products:
    """All products with weights of one decode step."""

    def __init__(self, model: nn.Module, rows: int, device: torch.device) -> None:
        self._layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        dtype = self._layers[0].weight.dtype
        widths = {layer.in_features for layer in self._layers}
        self._inputs = {width: torch.randn(rows, width, dtype=dtype, device=device) for width in widths}

    def run(self) -> None:
        """Compute them once."""
        for layer in self._layers:
            layer(self._inputs[layer.in_features])

    def replayed(self) -> Callable[[], None]:
        """What computes them once as a CUDA graph, so that no time goes into launching kernels."""
        warm = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        with torch.cuda.stream(warm):
            self.run()
        torch.cuda.current_stream().wait_stream(warm)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.run()
        return graph.replay
