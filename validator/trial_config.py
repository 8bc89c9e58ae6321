"""Settings of a trial audit. Imports nothing heavy, so that `--help` answers at once."""

from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, between, setting

DESCRIPTION = (
    "Audit one miner now, by requests of your own: prints a JSON line for each audit. Nothing is recorded, "
    "scored or published. The miner has to admit the hotkey that signs."
)

TRIALS = 4


@dataclass(frozen=True)
class TrialConfig:
    """What `python -m validator.trial_audit` is told by flags, environment and .env."""

    model: str = setting("Qwen/Qwen2.5-7B-Instruct", "model that is audited: a hub name or a local folder")
    served_model_name: str | None = setting(None, "name clients use for the model, if not the model's own")
    calibration: Path | None = setting(None, "calibration file, if it is not in the model's folder")
    device: str = setting("cpu", "where the reference model runs: cpu, cuda or cuda:N")
    wallet: str = setting("validator", "wallet whose hotkey signs requests and challenges")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")
    axon: str | None = setting(None, "where the miner is called: ip:port")
    miner_hotkey: str | None = setting(None, "the miner's hotkey address")
    trials: int = setting(TRIALS, "requests that are sent and audited", check=between(1, 1000))
    first: int = setting(0, "number of the first request; each number is another kind", check=at_least(0))
