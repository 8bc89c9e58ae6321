"""Settings of the watchtower. This module imports nothing heavy, so that `--help` answers at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.alerts import is_webhook
from shared.config import at_least, between, load, one_of, setting
from shared.errors import ConfigError

DESCRIPTION = (
    "Watchtower: checks published epochs and sets the same weights. Needs no model, GPU or credentials."
)


@dataclass(frozen=True)
class WatchtowerConfig:
    """What the watchtower is told by flags, environment and .env."""

    source: str | None = setting(
        None, "where epochs are published: a folder, s3://bucket/prefix or https:// URL"
    )
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service, for s3:// sources")
    store_region: str = setting("auto", "region of the S3-compatible service")
    publisher: str | None = setting(
        None, "hotkey that publishes (default: the validator with the most stake on the metagraph)"
    )
    wallet: str = setting("validator", "wallet whose hotkey sets weights")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")
    netuid: int = setting(97, "subnet", check=between(0, 65535))
    network: str = setting("finney", "chain: finney, test, local, or ws:// or wss:// addresses with commas")
    state_dir: Path = setting(Path("~/.constantinople"), "folder of the watchtower's state")
    calibration: str | None = setting(
        None, "calibration file, or URL of a gateway that serves it, to check the p-values of audits with"
    )
    model: str | None = setting(
        None,
        "model to repeat a few audits of each epoch with: a local folder or a hub name (default: none are)",
    )
    device: str = setting("cpu", "where the model runs: cpu, cuda or cuda:N")
    reaudits: int = setting(2, "audits of each epoch to repeat, where --model is given", check=at_least(1))
    when_silent: str = setting(
        "keep",
        "what to do without a sound epoch: keep setting the last sound weights for a while, or stop",
        check=one_of("keep", "stop"),
    )
    silent_hours: float = setting(
        24.0, "how long after the last sound epoch its weights are set again", check=between(0, 720)
    )
    poll_seconds: float = setting(60.0, "seconds between looks at the source", check=at_least(0.1))
    max_age_seconds: float = setting(
        7200.0, "an epoch that was closed longer ago is not copied", check=at_least(1)
    )
    alert_webhook: str | None = setting(
        None,
        "URL that gets a POST of JSON when a trouble lasts for a minute, and when it is over",
        is_webhook,
    )
    once: bool = setting(False, "follow the newest epoch, set its weights and exit")
    health: bool = setting(
        False,
        "say whether the watchtower that runs with this --state-dir works, and why; status 0 if it does",
    )
    revision: str = setting("", "revision of the code, told in the log and by --health; images bring theirs")


def load_config(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> WatchtowerConfig:
    """The watchtower's settings.

    Raises:
        ConfigError: a value is not allowed, or no source is named.
    """
    config = load(WatchtowerConfig, DESCRIPTION, argv, environ, dotenv)
    if not config.source and not config.health:
        raise ConfigError("name where epochs are published with --source: a folder, s3://… or https://…")
    return config


def source_of(config: WatchtowerConfig) -> str:
    """The source, which `load_config` has made sure of."""
    assert config.source
    return config.source
