"""Settings of the gateway. This module imports nothing heavy, so that `--help` answers at once."""

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.addresses import parse_endpoint
from shared.alerts import is_webhook
from shared.config import at_least, between, is_port, load, one_of, setting
from shared.errors import ConfigError, MalformedMessage

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")

MAX_MINERS_FILE_CHARS = 1 << 20
"""Some 10,000 miners, forty times a subnet."""

_SS58 = re.compile(r"^[1-9A-HJ-NP-Za-km-z]{46,50}$")

DESCRIPTION = (
    "OpenAI-compatible gateway: routes every request to a miner of the subnet and records the answer."
)


def is_http_url(value: str) -> str | None:
    """Check: an http:// or https:// address."""
    return None if re.match(r"https?://[^/\s]+", value) else "it must be an http:// or https:// address"


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
    network: str = setting("finney", "chain: finney, test, local, or ws:// or wss:// addresses with commas")
    discover: bool = setting(False, "find miners on the metagraph")
    miners: tuple[str, ...] = setting((), "list ip:port=hotkey,… to use instead of --discover")
    miners_file: Path | None = setting(
        None,
        "file with a miner ip:port=hotkey on each line, # for comments, to use instead of --discover; "
        "it is read again when it changes",
    )
    wallet: str = setting("validator", "wallet whose hotkey signs requests to miners")
    hotkey: str = setting("default", "name of the hotkey in that wallet")
    wallet_path: Path = setting(Path("~/.bittensor/wallets"), "folder of wallets")
    trusted_callers: tuple[str, ...] = setting(
        (),
        "hotkeys, besides the gateway's own, that may choose miners and read the record log",
    )
    records_for_validators: bool = setting(
        False, "let every hotkey with a validator permit read the record log, clients' words included"
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
    wallet_sign_in: bool = setting(False, "give an API key to whoever signs in with a registered hotkey")
    wallet_any_hotkey: bool = setting(
        False, "also to hotkeys that are not on the subnet, of which anybody can make any number"
    )
    wallet_keys: int = setting(2, "valid keys that one hotkey can have; they share its limits", at_least(1))
    wallet_key_days: float = setting(30.0, "days until such a key expires; 0: never", at_least(0))
    wallet_requests_per_minute: int = setting(
        600, "requests a minute of one hotkey that signed in; 0: no limit", at_least(0)
    )
    wallet_tokens_per_minute: int = setting(
        1_000_000,
        "tokens a minute, prompt and output, of one hotkey that signed in; 0: no limit",
        at_least(0),
    )
    wallet_tokens_per_day: int = setting(
        0, "tokens a day (UTC) of one hotkey that signed in; 0: no limit", at_least(0)
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"), "addresses or networks of proxies whose X-Forwarded-For says who the client is"
    )
    store: str | None = setting(
        None,
        "where the network's epochs are published, to tell clients what audits found: a folder, "
        "s3://bucket/prefix or https:// URL",
    )
    store_endpoint: str | None = setting(None, "URL of the S3-compatible service, for an s3:// store")
    store_region: str = setting("auto", "region of the S3-compatible service")
    store_public_url: str | None = setting(
        None,
        "URL below which the store's bucket itself serves its objects; /v1/dataset/files sends readers there",
        is_http_url,
    )
    store_by_default: bool = setting(
        True,
        "publish the text of requests that do not say `store`; with --no-store-by-default only of those that "
        "say true",
    )
    store_seconds: float = setting(60.0, "seconds between looks at the store", check=at_least(0.1))
    publisher: str | None = setting(
        None,
        "hotkey whose epochs are believed (default: the gateway's own, or any with a validator permit)",
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
    hedge: bool = setting(
        False, "ask a second miner when a stream begins later than 95 % of streams do; the faster one serves"
    )
    miner_concurrency: int = setting(0, "most requests under way at one miner; 0: no limit", at_least(0))
    max_waiting: int = setting(
        256, "most requests that wait while every miner that could serve them is busy", at_least(0)
    )
    waiting_seconds: float = setting(10.0, "seconds that a request waits for a miner", at_least(0.01))
    max_body_bytes: int = setting(4 << 20, "largest request body in bytes", check=at_least(1024))
    workers: int = setting(
        1, "worker processes; limits a minute are counted by each for itself", check=between(1, 64)
    )
    max_connections: int = setting(4096, "most connections of clients at once", check=at_least(1))
    sync_seconds: float = setting(1.0, "seconds between fsyncs of the record log", check=between(0.01, 3600))
    shutdown_seconds: int = setting(
        30, "seconds that running answers get to finish at shutdown", check=at_least(0)
    )
    drain_seconds: float = setting(
        0.0,
        "seconds after SIGTERM for which new connections are still served while /ready says no, so that a "
        "load balancer sees it first",
        check=at_least(0),
    )
    metrics_allow: tuple[str, ...] = setting(
        ("127.0.0.0/8", "::1"), "addresses or networks that may read GET /metrics; others get 403"
    )
    metrics_port: int | None = setting(
        None,
        "port of --host on which GET /metrics is served instead of --port; --metrics-allow decides there too",
        check=is_port,
    )
    pass_trace_headers: bool = setting(
        True, "pass traceparent, tracestate and baggage of a request on to its miner"
    )
    otlp_endpoint: str | None = setting(
        None,
        "OpenTelemetry collector that gets a span of each request and attempt, over HTTP: "
        "http://collector:4318/v1/traces; none are made if none is named",
        check=is_http_url,
    )
    alert_webhook: str | None = setting(
        None,
        "URL that gets a POST of JSON when a trouble lasts for a minute, and when it is over",
        is_webhook,
    )
    log_level: str = setting("INFO", "least level that is logged", check=one_of(*LOG_LEVELS))
    log_format: str = setting("text", "form of log lines: text or json", check=one_of("text", "json"))


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
    return [_static_miner(entry, "--miners") for entry in entries]


def read_miners_file(file: Path) -> list[StaticMiner]:
    """The miners of a file: one ip:port=hotkey a line, empty lines and # comments aside. Blocks.

    Raises:
        ConfigError: it can't be read, has a line of another form, a hotkey twice, or no miner.
    """
    try:
        with file.expanduser().open(encoding="utf-8") as lines:
            text = lines.read(MAX_MINERS_FILE_CHARS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--miners-file {file} can't be read: {error}") from None
    if len(text) > MAX_MINERS_FILE_CHARS:
        raise ConfigError(f"--miners-file {file} has more than {MAX_MINERS_FILE_CHARS} characters")
    entries = [(number, line.partition("#")[0].strip()) for number, line in enumerate(text.splitlines(), 1)]
    miners = [_static_miner(entry, f"line {number} of {file}") for number, entry in entries if entry]
    hotkeys = [miner.hotkey for miner in miners]
    twice = next((hotkey for hotkey in hotkeys if hotkeys.count(hotkey) > 1), None)
    if twice or not miners:
        raise ConfigError(f"--miners-file {file} lists {f'{twice} twice' if twice else 'no miner'}")
    return miners


def _static_miner(entry: str, where: str) -> StaticMiner:
    endpoint, _, hotkey = entry.partition("=")
    try:
        parse_endpoint(endpoint)
    except MalformedMessage as error:
        raise ConfigError(f"{where} has {entry!r}: {error}; write ip:port=hotkey") from None
    if not _SS58.match(hotkey):
        raise ConfigError(f"{where} has {entry!r}, which names no hotkey address; write ip:port=hotkey")
    return StaticMiner(endpoint, hotkey)


def networks(flag: str, entries: Sequence[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The addresses and networks that a flag lists.

    Raises:
        ConfigError: an entry is neither.
    """
    return [_network(flag, entry) for entry in entries]


def _network(flag: str, entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError as error:
        raise ConfigError(f"{flag} has {entry!r}, which is no address or network: {error}") from None


def _check_source(config: GatewayConfig) -> None:
    if config.miners_file is not None:
        read_miners_file(config.miners_file)
    given = sum((config.discover, bool(config.miners), config.miners_file is not None))
    if given != 1:
        choice = "neither is given" if not given else f"{'both' if given == 2 else 'all'} are given"
        raise ConfigError(
            f"say where miners are found with either --discover, --miners or --miners-file; {choice}"
        )


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
    check_config(config)
    return config


def check_config(config: GatewayConfig) -> None:
    """Check what no flag by itself shows.

    Raises:
        ConfigError: a list has a wrong entry, or it is not said where miners are found.
    """
    static_miners(config.miners)
    for hotkey in config.trusted_callers:
        if not _SS58.match(hotkey):
            raise ConfigError(f"--trusted-callers has {hotkey!r}, which is no hotkey address (5…)")
    networks("--trusted-proxies", config.trusted_proxies)
    networks("--metrics-allow", config.metrics_allow)
    if config.publisher is not None and not _SS58.match(config.publisher):
        raise ConfigError(f"--publisher is {config.publisher!r}, which is no hotkey address (5…)")
    _check_source(config)
