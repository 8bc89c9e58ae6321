"""Random models of the architectures that the reference is tested with, small enough for milliseconds."""

from functools import lru_cache
from typing import Any

import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from shared.reference_model import ReferenceModel

LAYERS, HIDDEN, VOCABULARY = 3, 64, 100

_MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM, {}),
    "llama": (LlamaConfig, LlamaForCausalLM, {"tie_word_embeddings": True}),
    "mistral-with-a-window": (MistralConfig, MistralForCausalLM, {"sliding_window": 16}),
    "gemma2": (Gemma2Config, Gemma2ForCausalLM, {"head_dim": 32, "final_logit_softcapping": 0.05}),
    "granite": (GraniteConfig, GraniteForCausalLM, {"logits_scaling": 8.0}),
    "cohere": (CohereConfig, CohereForCausalLM, {"logit_scale": 0.0625}),
}


def small_model(name: str) -> Any:
    """A random model in float32."""
    config_class, model_class, fields = _MODELS[name]
    # A model this small is slower on several threads, and far slower beside other processes.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = config_class(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **fields,
    )
    return model_class(config).eval()


@lru_cache(maxsize=1)
def small_reference() -> ReferenceModel:
    """A small model as the reference, one for all tests of what stands around it."""
    return ReferenceModel(small_model("qwen2"), torch.device("cpu"))
