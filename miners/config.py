"""The miner's settings. Imports nothing heavy, so that `--help` answers at once."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from shared.alerts import is_webhook
from shared.config import at_least, between, is_port, load_with_rest, one_of, setting

DESCRIPTION = (
    "Serve a language model to a Constantinople subnet. Flags that are not listed here go to vLLM unchanged."
)

VLLM_PLUGINS = ("constantinople_capture", "constantinople")
"""Entry points of this project (pyproject.toml) that vLLM loads; it loads no endpoint that is not named."""

CHALLENGE_WINDOW_S = 7800.0
"""Openings are asked for up to two hours after the answer; ten minutes more for an auditor's further
attempts, five of 60 s with 44 s between them."""

_SS58 = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,50}")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?")


def _is_host(value: str) -> str | None:
    try:
        ip_address(value)
    except ValueError:
        if not _HOST_NAME.fullmatch(value):
            return "it must be an IP address or a host name, without a port"
    return None


def _are_hotkeys(value: tuple[str, ...]) -> str | None:
    wrong = [hotkey for hotkey in value if not _SS58.fullmatch(hotkey)]
    return f"{wrong[0]!r} is not an ss58 address" if wrong else None


@dataclass(frozen=True)
class MinerConfig:
    """Flags, `CONSTANTINOPLE_…` variables and `.env` of `vllm_miner.py`."""

    model: str = setting("Qwen/Qwen2.5-7B-Instruct", "model to serve: a hub name or a local folder")
    served_model_name: str | None = setting(None, "public name of the model, when it is not the model's own")
    calibration: str | None = setting(
        None, "calibration file, or URL of a gateway that serves it, when it is not in the model's folder"
    )
    host: str = setting("0.0.0.0", "address to listen on")
    port: int = setting(8091, "port to listen on", check=is_port)
    axon_ip: str | None = setting(
        None,
        "IP address to publish on chain, when it is not this machine's, or a name that leads to it",
        _is_host,
    )
    axon_port: int | None = setting(None, "port to publish on chain, when it is not --port", check=is_port)
    wallet: str = setting("miner", "wallet name")
    hotkey: str = setting("default", "hotkey name in the wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of the wallets")
    netuid: int = setting(97, "subnet", check=between(0, 65535))
    network: str = setting("finney", "chain: finney, test, local, or ws:// or wss:// addresses with commas")
    allow_hotkeys: tuple[str, ...] = setting(
        (), "hotkeys to serve besides validators with a permit, separated by commas", check=_are_hotkeys
    )
    hf_device: str = setting(
        "cpu", "where the self-test computes its reference: cpu, or auto for a GPU", one_of("cpu", "auto")
    )
    gpu_memory_utilization: float | None = setting(
        None, "share of the GPU's memory that vLLM may use", check=between(0.01, 1)
    )
    max_model_len: int | None = setting(None, "longest context in tokens", check=at_least(16))
    tensor_parallel_size: int = setting(1, "GPUs to spread the model over", check=at_least(1))
    dtype: str = setting("auto", "number format of weights and activations; auto is the model's own")
    state_dir: Path = setting(Path("~/.constantinople"), "folder for what outlives a restart")
    challenge_window_seconds: float = setting(
        CHALLENGE_WINDOW_S, "how long commitments are kept for challenges", check=at_least(60)
    )
    commitment_memory_mib: int = setting(
        4096, "memory, and disk in state-dir, for commitments; the oldest go when full", check=at_least(1)
    )
    metrics_port: int | None = setting(
        None, "port of this machine's loopback on which GET /metrics needs no signature", check=is_port
    )
    alert_webhook: str | None = setting(
        None,
        "URL that gets a POST of JSON when a trouble lasts for a minute, and when it is over",
        is_webhook,
    )


def load_config(
    argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None, dotenv: Path | None = None
) -> tuple[MinerConfig, list[str]]:
    """The settings, and the flags for vLLM.

    Raises:
        ConfigError: a value is not allowed.
    """
    return load_with_rest(MinerConfig, DESCRIPTION, argv, environ, dotenv)


def plugins_with_ours(names: str) -> str:
    """`VLLM_PLUGINS` with this project's plugins added to what the operator set."""
    others = [name.strip() for name in names.split(",") if name.strip() and name.strip() not in VLLM_PLUGINS]
    return ",".join([*VLLM_PLUGINS, *others])
