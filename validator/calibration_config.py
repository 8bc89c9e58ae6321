"""Settings of the calibration. Imports nothing heavy, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, one_of, setting
from shared.errors import ConfigError

DESCRIPTION = (
    "Make the calibration file of a model. Without --miner, the noise stage starts an honest miner by itself."
)


@dataclass(frozen=True)
class CalibrateConfig:
    """Flags, `CONSTANTINOPLE_…` variables and `.env` of the calibration."""

    model: str = setting("Qwen/Qwen2.5-7B-Instruct", "model to calibrate: a hub name or a local folder")
    out: Path | None = setting(None, "file to write (default: in the model's local folder)")
    stage: str = setting("all", "what to measure", check=one_of("all", "statistics", "noise"))
    requests: int = setting(128, "requests of the noise stage under each condition", check=at_least(32))
    conditions: str = setting(
        "all", "engine settings that honest data is taken under, comma-separated: eager, compiled, chunked, …"
    )
    device: str = setting("cpu", "where the reference computes: cpu, cuda, cuda:1 …")
    dtype: str = setting("float32", "the reference's number format", one_of("float32", "bfloat16", "float16"))
    miner: str | None = setting(None, "a running honest miner, ip:port, that serves with the statistics")
    miner_hotkey: str | None = setting(None, "that miner's hotkey address")
    wallet: str = setting("validator", "wallet whose hotkey signs requests to that miner")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")


def check_config(config: CalibrateConfig) -> None:
    """What no single setting's check can say.

    Raises:
        ConfigError: one of two flags that belong together is missing.
    """
    if (config.miner is None) != (config.miner_hotkey is None):
        raise ConfigError("--miner and --miner-hotkey go together; give both or neither")
