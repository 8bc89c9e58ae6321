"""A cheap model that writes text: the served one with its linear weights rounded to four bits.

It samples with the noise that the seed stands for, so that its tokens agree with the true model's as often
as they can.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from localnet.cheats.rounding import round_to_int4
from shared.sampling_noise import gumbel_noise

GREEDY_BELOW = 1e-5
"""Temperatures that mean the most likely token (vLLM's `_SAMPLING_EPS`)."""


@dataclass(frozen=True)
class Sampling:
    """How one choice is written. A `top_k` below 1 keeps every token."""

    temperature: float
    top_p: float
    top_k: int
    seed: int
    max_tokens: int


class CheapWriter:
    """Writes with a causal language model; any number of texts at a time, each with a cache of its own."""

    def __init__(self, model: Any, end_ids: frozenset[int]) -> None:
        self._model, self._end_ids = model, end_ids

    @classmethod
    def load(cls, model_folder: Path) -> "CheapWriter":
        """The model of a local folder, rounded."""
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
        with torch.no_grad():
            for layer in model.get_decoder().layers:
                for module in layer.modules():
                    if isinstance(module, torch.nn.Linear):
                        module.weight.copy_(round_to_int4(module.weight))
        return cls(model, _end_ids(model))

    def write(self, prompt: Sequence[int], sampling: Sampling) -> Iterator[int]:
        """Token ids, up to the limit or to a token that ends the text, which comes too."""
        from transformers import DynamicCache

        cache, new = DynamicCache(), list(prompt)
        for number in range(sampling.max_tokens):
            logits = self._logits(new, cache)
            token = pick_token(logits, sampling, len(prompt) - 1 + number)
            yield token
            if token in self._end_ids:
                return
            new = [token]

    def ends(self, token: int) -> bool:
        """Whether a text ends with this token."""
        return token in self._end_ids

    @torch.inference_mode()
    def _logits(self, new: Sequence[int], cache: Any) -> Tensor:
        ids = torch.tensor([list(new)])
        answer = self._model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return answer.logits[0, -1].to(torch.float32)  # type: ignore[no-any-return]


def _end_ids(model: Any) -> frozenset[int]:
    stated = model.generation_config.eos_token_id
    return frozenset(stated if isinstance(stated, list) else [] if stated is None else [stated])


def pick_token(logits: Tensor, sampling: Sampling, position: int) -> int:
    """The token that verifiable sampling takes from these logits [vocabulary] at this position."""
    if sampling.temperature < GREEDY_BELOW:
        return int(logits.argmax())
    scaled = _top_p(_top_k(logits / sampling.temperature, sampling.top_k), sampling.top_p)
    noise = gumbel_noise(torch.tensor([sampling.seed]), torch.tensor([position]), len(logits))
    return int((scaled + noise[0]).argmax())


def _top_k(logits: Tensor, top_k: int) -> Tensor:
    if not 1 <= top_k < len(logits):
        return logits
    return logits.masked_fill(logits < logits.topk(top_k).values[-1], -torch.inf)


def _top_p(logits: Tensor, top_p: float) -> Tensor:
    """The most likely tokens that together reach `top_p`."""
    if top_p >= 1:
        return logits
    ordered, order = logits.sort(descending=True)
    likelihood = ordered.softmax(0)
    before = likelihood.cumsum(0) - likelihood
    return logits.index_fill(0, order[before >= top_p], -torch.inf)
