"""vLLM's own sampling parameters of requests, and its own processing of logits, without an engine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from vllm.config import ModelConfig
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.serve.utils.api_utils import get_max_tokens
from vllm.model_executor.layers.utils import apply_penalties
from vllm.sampling_params import SamplingParams
from vllm.tokenizers import get_tokenizer
from vllm.v1.sample.ops.bad_words import apply_bad_words
from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p_pytorch

CONTEXT = 2048
PROMPT_TOKENS = 48

REQUESTS: dict[str, Any] = {
    "/v1/chat/completions": ChatCompletionRequest,
    "/v1/completions": CompletionRequest,
}


def request_fields(path: str) -> set[str]:
    """Every field that vLLM's model of the path's requests has."""
    return set(REQUESTS[path].model_fields)


class VllmSampling:
    """Sampling parameters as vLLM's server and engine make them for one model."""

    def __init__(self, folder: Path) -> None:
        self._model_config = ModelConfig(model=str(folder), max_model_len=CONTEXT)
        self._tokenizer = get_tokenizer(str(folder))

    def params(self, path: str, body: dict[str, Any]) -> SamplingParams:
        """What the engine samples with, for a prompt of PROMPT_TOKENS tokens."""
        request = REQUESTS[path](**body)
        defaults = self._model_config.get_diff_sampling_param()
        fields = request.model_dump(include={"max_completion_tokens", "max_tokens"})
        asked = fields.get("max_completion_tokens") or fields["max_tokens"]
        max_tokens = get_max_tokens(CONTEXT, asked, PROMPT_TOKENS, defaults)
        params = request.to_sampling_params(max_tokens, defaults)
        generation_config = self._model_config.try_get_generation_config()
        params.update_from_generation_config(generation_config, self._tokenizer.eos_token_id)
        params.update_from_tokenizer(self._tokenizer)
        return params


def vllm_penalised(
    logits: Tensor, prompt: Sequence[int], output: Sequence[int], penalties: tuple[float, float, float]
) -> Tensor:
    """One row [vocabulary_size] after presence, frequency and repetition penalties."""
    ids = [torch.tensor([list(part)], dtype=torch.int64) for part in (prompt, output)]
    row = logits.clone().unsqueeze(0)
    penalised: Tensor = apply_penalties(row, *ids, *(torch.tensor([one]) for one in penalties))
    return penalised[0]


def vllm_without_bad_words(logits: Tensor, words: Sequence[Sequence[int]], output: Sequence[int]) -> Tensor:
    """One row [vocabulary_size] with bad words masked."""
    row = logits.clone().unsqueeze(0)
    apply_bad_words(row, {0: [list(word) for word in words]}, [list(output)])
    return row[0]


def vllm_truncated(scaled: Tensor, top_k: int, top_p: float) -> Tensor:
    """Rows of logits / temperature after top-k and top-p; 0 and 1 keep all."""
    rows = len(scaled)
    k = torch.full((rows,), top_k) if top_k else None
    p = torch.full((rows,), top_p) if top_p < 1 else None
    truncated: Tensor = apply_top_k_top_p_pytorch(scaled.clone(), k, p, allow_cpu_sync=True)
    return truncated
