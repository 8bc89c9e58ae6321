"""The miner's settings as vLLM's own flags. Pure: vLLM parses the result."""

from collections.abc import Sequence

from miners.config import MinerConfig
from miners.hidden_states.engine_capture import WORKER_EXTENSION
from shared.errors import ConfigError
from shared.model_identity import public_model_name

FRONT = "miners.front.MinerFront"
"""For vLLM's `--middleware`; the last named is the outermost."""

REFUSED = {
    "--uds": "gateways call the address and port that the chain shows",
    "--ssl-keyfile": "gateways call miners over plain HTTP with signed requests",
    "--ssl-certfile": "gateways call miners over plain HTTP with signed requests",
    "--api-key": "gateways sign their requests; there is no shared secret",
    "--root-path": "gateways call the paths of the OpenAI API at the root",
    "--worker-extension-cls": "capturing hidden states needs vLLM's one worker extension",
    "--speculative-config": "hidden states can't be captured under speculative decoding",
    "--skip-tokenizer-init": "receipts need the server to tokenise prompts",
    "--enable-prompt-embeds": "a prompt without token ids can't be committed to",
    "--enable-lora": "the subnet serves one model",
    "--generation-config": "auditors sample by the model's own generation_config.json",
    "--override-generation-config": "auditors sample by the model's own generation_config.json",
    "--hf-config-path": "the model's own configuration is what the calibration file is for",
    "--hf-overrides": "the model's own configuration is what the calibration file is for",
    "--revision": "name the local folder of that revision with --model, so that it is checked at start",
    "--max-model-len": "write it with hyphens, so that it is checked at start",
    "--config": "write flags on the command line, so that they are checked at start",
    "--logits-processors": "auditors can't repeat what a processor of your own does to the logits",
    "--use-fp64-gumbel": "auditors draw tokens with 32-bit noise",
    "--watermark-config": "a watermark changes which tokens are drawn",
    "--enable-trace-replay": "tokens are drawn, not replayed",
    "--reasoning-parser": "auditors compare the whole text of an answer with its tokens",
}
"""vLLM flags that would make receipts wrong or the miner unreachable, and why."""


def public_name(config: MinerConfig) -> str:
    """What clients call the model."""
    return config.served_model_name or public_model_name(config.model)


def vllm_arguments(config: MinerConfig, passed_on: Sequence[str]) -> list[str]:
    """vLLM's command line: what this miner decides, then the flags passed on, then what must not change.

    Prefix caching and chunked prefill stay at vLLM's defaults (on): both are committed to correctly.

    Raises:
        ConfigError: a passed flag would make the miner useless.
    """
    _check(passed_on)
    optional = {
        "--max-model-len": config.max_model_len,
        "--gpu-memory-utilization": config.gpu_memory_utilization,
    }
    return [
        *("--model", config.model, "--served-model-name", public_name(config)),
        *("--host", config.host, "--port", str(config.port)),
        *("--dtype", config.dtype, "--tensor-parallel-size", str(config.tensor_parallel_size)),
        *(text for flag, value in optional.items() if value is not None for text in (flag, str(value))),
        *passed_on,
        *("--worker-extension-cls", WORKER_EXTENSION, "--middleware", FRONT),
    ]


def _check(passed_on: Sequence[str]) -> None:
    for text in passed_on:
        flag = text.partition("=")[0].replace("_", "-")
        if flag in REFUSED:
            raise ConfigError(f"the flag {flag} can't be used by a miner: {REFUSED[flag]}")
