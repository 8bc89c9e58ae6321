"""Models with random weights in the shape of real ones, for costs that don't depend on what the weights say.

Final logits have a spread as real ones have, so that sampling and margins do an honest model's work.
"""

import shutil
from pathlib import Path
from typing import Any

import torch

QWEN2_5: dict[str, dict[str, Any]] = {
    "0.5b": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
    },
    "7b": {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
}
"""Shapes from the config.json of Qwen2.5-0.5B-Instruct and Qwen2.5-7B-Instruct."""

CONTEXT_TOKENS = 32_768
LOGIT_SPREAD = 3.0
"""Standard deviation of the logits, as SmolLM2's are on ordinary text."""


def build_random_model(shape: str, folder: Path, device: str = "cpu") -> Path:
    """Write a random bfloat16 Qwen2 of one of `QWEN2_5`'s shapes to `folder` unless it is there already.

    Args:
        device: where the random numbers are drawn; 15 GB of them take minutes on a CPU.
    """
    if (folder / "config.json").exists():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    random_model(QWEN2_5[shape], device).save_pretrained(partial)
    partial.rename(folder)
    return folder


def random_model(shape: dict[str, Any], device: str) -> Any:
    """A random model in bfloat16, the same for the same device and shape."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(**shape, max_position_embeddings=CONTEXT_TOKENS, tie_word_embeddings=False)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Qwen2ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    # The final norm leaves numbers of size 1, so a row of n weights of deviation s gives logits of s · √n.
    torch.nn.init.normal_(model.lm_head.weight, std=LOGIT_SPREAD / config.hidden_size**0.5)
    return model.eval()
