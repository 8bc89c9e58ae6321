"""Settings of the audit validator. This module imports nothing heavy, so that `--help` answers at once."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.alerts import is_webhook
from shared.config import at_least, between, is_port, load, setting

DESCRIPTION = "Audit validator: challenges miners, scores them, sets weights, publishes epochs."


@dataclass(frozen=True)
class AuditConfig:
    """What the audit validator is told by flags, environment and .env."""

    model: str = setting("Qwen/Qwen2.5-7B-Instruct", "model that is audited: a hub name or a local folder")
    served_model_name: str | None = setting(None, "name clients use for the model, if not the model's own")
    calibration: str | None = setting(
        None, "calibration file, or URL of a gateway that serves it, if it is not in the model's folder"
    )
    device: str = setting("cpu", "where the reference model runs, in float32: cpu, cuda or cuda:N")
    host: str = setting("127.0.0.1", "address to listen on")
    port: int = setting(8082, "port to listen on", check=is_port)
    netuid: int = setting(97, "subnet", check=between(0, 65535))
    network: str = setting("finney", "chain: finney, test, local, or ws:// or wss:// addresses with commas")
    wallet: str = setting("validator", "wallet whose hotkey signs challenges, weights and epochs")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")
    state_dir: Path = setting(Path("~/.constantinople"), "folder of the auditor's state")
    records: tuple[str, ...] = setting(
        (),
        "where gateways' record logs are, comma-separated: folders, or URLs of gateways "
        "(default: records in state-dir)",
    )
    database: str | None = setting(
        None,
        "SQLAlchemy URL of the state (default: SQLite in state-dir); auditors that name the same PostgreSQL "
        "divide the work",
    )
    auditor_name: str | None = setting(
        None, "this auditor's name among several (default: the machine's name and the port)"
    )
    store: str | None = setting(
        None, "where epochs are published: a folder or s3://bucket/prefix (default: store in state-dir)"
    )
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service")
    store_region: str = setting("auto", "region of the S3-compatible service")
    epoch_seconds: float = setting(1500.0, "length of an epoch in seconds", check=between(5, 86400))
    metagraph_seconds: float = setting(30.0, "seconds between readings of the metagraph", check=at_least(1))
    gateway: str | None = setting(
        None, "URL of the gateway for requests of the auditor's own to miners that few clients reach"
    )
    gateway_hotkey: str | None = setting(None, "the gateway's hotkey address, if not the auditor's own")
    synthetic_requests: int = setting(
        12, "answers of each miner in an epoch, up to which own requests fill up", check=between(1, 1000)
    )
    synthetic_prompts: Path | None = setting(
        None, "JSON lines of conversations to take own requests' texts from (default: a built-in grammar)"
    )

    alert_webhook: str | None = setting(
        None,
        "URL that gets a POST of JSON when a trouble lasts for a minute, and when it is over",
        is_webhook,
    )

    @property
    def state_folder(self) -> Path:
        """The folder of the auditor's state."""
        return self.state_dir.expanduser()

    @property
    def spool_folder(self) -> Path:
        """Where epochs wait to be uploaded."""
        return self.state_folder / "spool"

    @property
    def records_folder(self) -> Path:
        """The folder of the record log of a gateway that has the same state folder."""
        return self.state_folder / "records"

    @property
    def record_places(self) -> dict[str, str]:
        """Where record logs are, by the names under which it is noted how far they have been read."""
        places = self.records or (str(self.records_folder),)
        return {_log_name(place): place for place in places}

    @property
    def name(self) -> str:
        """What this auditor is called among several."""
        return self.auditor_name or f"{socket.gethostname()}-{self.port}"

    @property
    def store_location(self) -> str:
        """A folder or an s3:// URL."""
        return self.store or str(self.state_folder / "store")


def _log_name(place: str) -> str:
    if place.startswith(("http://", "https://")):
        return place.rstrip("/")
    return str(Path(place).expanduser().resolve())


def load_config(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> AuditConfig:
    """The audit validator's settings.

    Raises:
        ConfigError: a value is not allowed.
    """
    return load(AuditConfig, DESCRIPTION, argv, environ, dotenv)
