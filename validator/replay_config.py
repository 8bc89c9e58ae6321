"""Settings of the replay. This module imports nothing heavy, so that `--help` answers at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.config import at_least, between, load, setting
from shared.errors import ConfigError

DESCRIPTION = (
    "Replay: downloads published epochs and computes everything again that they state, trusting nobody. "
    "Needs no credentials, and no model unless audits are to be repeated. Exits with 0 when all that could "
    "be checked holds, with 1 when something does not."
)

LATEST, ALL = "latest", "all"


def is_epoch(value: str) -> str | None:
    """Check: an epoch's number, the latest one, or all."""
    if value in (LATEST, ALL) or (value.isascii() and value.isdigit() and int(value) > 0):
        return None
    return "it must be an epoch's number, latest or all"


@dataclass(frozen=True)
class ReplayConfig:
    """What the replay is told by flags, environment and .env."""

    from_: str | None = setting(
        None, "where epochs are published: an https:// URL, a folder, or s3://bucket/prefix"
    )
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service, for s3:// sources")
    store_region: str = setting("auto", "region of the S3-compatible service")
    epoch: str = setting(LATEST, "which epochs: a number, latest, or all, oldest first", check=is_epoch)
    publisher: str | None = setting(
        None, "hotkey that must have signed (default: whoever signed the newest; with --network, a validator)"
    )
    network: str | None = setting(
        None, "chain to hold blocks, anchor and weights against: finney, test, local, or a ws:// address"
    )
    netuid: int = setting(97, "subnet", check=between(0, 65535))
    reaudit: int = setting(0, "audits of each epoch to repeat with the model", check=at_least(0))
    model: str | None = setting(None, "model to repeat audits with: a local folder or a hub name")
    device: str = setting("cpu", "where the model runs: cpu, cuda or cuda:N")
    calibration: str | None = setting(
        None, "calibration file, or URL of a gateway that serves it: p-values are checked with it too"
    )
    seed: int = setting(0, "which audits are repeated: the same seed takes the same", check=at_least(0))
    keep: Path | None = setting(
        None, "folder to keep downloads in; what it has is not loaded again (default: none is kept)"
    )
    json: Path | None = setting(None, "file to write the findings to as JSON as well")


def load_config(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> ReplayConfig:
    """The replay's settings.

    Raises:
        ConfigError: a value is not allowed, or one that another needs is missing.
    """
    config = load(ReplayConfig, DESCRIPTION, argv, environ, dotenv)
    if not config.from_:
        raise ConfigError("name where epochs are published with --from: https://…, a folder, or s3://…")
    if config.reaudit and config.model is None:
        raise ConfigError("--reaudit needs the model: name its folder with --model")
    return config


def source_of(config: ReplayConfig) -> str:
    """The source, which `load_config` has made sure of."""
    assert config.from_
    return config.from_
