"""Settings of the gateway. This module imports nothing heavy, so that `--help` answers at once."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.addresses import parse_endpoint
from shared.config import at_least, between, is_port, load, setting
from shared.errors import ConfigError, MalformedMessage

_SS58 = re.compile(r"^[1-9A-HJ-NP-Za-km-z]{46,50}$")

DESCRIPTION = (
    "OpenAI-compatible gateway: routes every request to a miner of the subnet and records the answer."
)


@dataclass(frozen=True)
class GatewayConfig:
    """What the gateway is told by flags, environment and .env."""

    model: str = setting("Qwen/Qwen2.5-7B-Instruct", "model that is served: a hub name or a local folder")
    max_model_len: int | None = setting(
        None, "context of the model in tokens, if it is served with less than its own", at_least(16)
    )
    served_model_name: str | None = setting(None, "name clients use for the model, if not the model's own")
    calibration: str | None = setting(
        None,
        "calibration file to serve to miners and followers, or URL of another gateway that serves it, "
        "if it is not in the model's folder",
    )
    host: str = setting("0.0.0.0", "address to listen on")
    port: int = setting(8081, "port to listen on", check=is_port)
    netuid: int = setting(97, "subnet", check=between(0, 65535))
    network: str = setting("finney", "chain: finney, test, local, or a ws:// or wss:// address")
    discover: bool = setting(False, "find miners on the metagraph")
    miners: tuple[str, ...] = setting((), "fixed list ip:port=hotkey,… to use instead of --discover")
    wallet: str = setting("validator", "wallet whose hotkey signs requests to miners")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")
    trusted_callers: tuple[str, ...] = setting(
        (), "hotkeys, besides the gateway's own, that may say which miner serves their request"
    )
    state_dir: Path = setting(Path("~/.constantinople"), "folder of the record log, keys and usage")
    keys_database: str | None = setting(
        None, "database of API keys and their use, an SQLAlchemy URL; keys.sqlite in the state folder if none"
    )
    anonymous: bool = setting(True, "serve requests without an API key")
    anonymous_requests_per_minute: int = setting(
        60, "requests a minute of one address without a key (IPv6: of its /64); 0: no limit", at_least(0)
    )
    anonymous_tokens_per_minute: int = setting(
        100_000, "tokens a minute, prompt and output, of one address without a key; 0: no limit", at_least(0)
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"), "addresses or networks of proxies whose X-Forwarded-For says who the client is"
    )
    metagraph_seconds: float = setting(
        30.0, "seconds between readings of the metagraph and of miners' health", check=at_least(1)
    )
    connect_timeout_s: float = setting(5.0, "seconds to connect to a miner", check=at_least(0.01))
    first_byte_timeout_s: float = setting(
        60.0, "seconds until a miner's stream has its first event", check=at_least(0.01)
    )
    idle_timeout_s: float = setting(
        30.0, "seconds between two events of a miner's stream", check=at_least(0.01)
    )
    answer_timeout_s: float = setting(600.0, "seconds for one whole answer", check=at_least(0.01))
    max_body_bytes: int = setting(4 << 20, "largest request body in bytes", check=at_least(1024))
    max_connections: int = setting(4096, "most connections of clients at once", check=at_least(1))
    sync_seconds: float = setting(1.0, "seconds between fsyncs of the record log", check=between(0.01, 3600))
    shutdown_seconds: int = setting(
        30, "seconds that running answers get to finish at shutdown", check=at_least(0)
    )


@dataclass(frozen=True)
class StaticMiner:
    """One entry of --miners."""

    endpoint: str
    hotkey: str


def static_miners(entries: Sequence[str]) -> list[StaticMiner]:
    """Entries of the form ip:port=hotkey.

    Raises:
        ConfigError: an entry has another form.
    """
    return [_static_miner(entry) for entry in entries]


def _static_miner(entry: str) -> StaticMiner:
    endpoint, _, hotkey = entry.partition("=")
    try:
        parse_endpoint(endpoint)
    except MalformedMessage as error:
        raise ConfigError(f"--miners has {entry!r}: {error}; write ip:port=hotkey") from None
    if not _SS58.match(hotkey):
        raise ConfigError(f"--miners has {entry!r}, which names no hotkey address; write ip:port=hotkey")
    return StaticMiner(endpoint, hotkey)


def _check_network(proxy: str) -> None:
    try:
        ipaddress.ip_network(proxy)
    except ValueError as error:
        raise ConfigError(
            f"--trusted-proxies has {proxy!r}, which is no address or network: {error}"
        ) from None


def load_config(
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> GatewayConfig:
    """The gateway's settings.

    Raises:
        ConfigError: a value is not allowed, or it is not said where miners are found.
    """
    config = load(GatewayConfig, DESCRIPTION, argv, environ, dotenv)
    static_miners(config.miners)
    for hotkey in config.trusted_callers:
        if not _SS58.match(hotkey):
            raise ConfigError(f"--trusted-callers has {hotkey!r}, which is no hotkey address (5…)")
    for proxy in config.trusted_proxies:
        _check_network(proxy)
    if config.discover == bool(config.miners):
        choice = "both are given" if config.discover else "neither is given"
        raise ConfigError(f"say where miners are found with either --discover or --miners; {choice}")
    return config
