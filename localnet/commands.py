"""The command line of each process of the subnet, as an operator would type it."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from localnet.config import PORT_STRIDE, PROJECT_ROOT, LocalnetConfig
from localnet.errors import LocalnetError
from localnet.postgresql import PostgresqlServer, programs
from localnet.roles import Role
from localnet.wallets import HOTKEY_NAME, VALIDATOR, WATCHTOWER, miner_name
from shared.config import ENVIRONMENT_PREFIX
from shared.vllm_cpu import cpu_engine_flags, cpu_environment

NETUID = 97

WEIGHTS_RATE_LIMIT_BLOCKS = 5
"""Low enough that an epoch of 10 s can set weights; the real subnet has 100."""

SYNTHETIC_REQUESTS = 3
"""Answers that each miner gives in an epoch without clients, by requests of the auditor's own: so few that
two cores have time for the clients'. To a miner with twice as many answers it sends none."""

METAGRAPH_SECONDS = 3
"""How often the parties read the metagraph here; in production, tens of seconds."""


def _identity(config: LocalnetConfig, wallet: str) -> list[str]:
    return [
        *("--wallet", wallet, "--hotkey", HOTKEY_NAME, "--wallet-path", str(config.wallets)),
        *("--netuid", str(NETUID), "--network", config.chain_url),
    ]


def _endpoint(config: LocalnetConfig) -> list[str]:
    return ["--store-endpoint", config.store_endpoint] if config.store_endpoint else []


def _script(name: str) -> list[str]:
    return [sys.executable, str(PROJECT_ROOT / name)]


def base_environment(config: LocalnetConfig) -> dict[str, str]:
    """The caller's environment, without settings that would override a flag that is left out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}
    cache = config.folder / "cache"
    return kept | {
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "BITTENSOR_RUNTIME_CACHE_DIR": str(cache / "bittensor"),
        "BTCLI_TOKEN_SYMBOLS_CACHE": str(cache / "token_symbols.json"),
    }


def miner_environment(config: LocalnetConfig, number: int, cores: list[int]) -> Mapping[str, str]:
    """One core for each engine, in turn: engines that share all cores slow each other down."""
    mine = [cores[(number - 1) % len(cores)]] if len(config.miners) > 1 else cores
    cache = config.folder / "cache"
    caches = {"VLLM_CACHE_ROOT": str(cache / "vllm"), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
    return base_environment(config) | caches | cpu_environment(mine)


def chain_command(config: LocalnetConfig) -> list[str]:
    return [
        *(sys.executable, "-m", "localnet.chain_node", "--port", str(config.chain_port)),
        *("--block-seconds", f"{config.block_seconds:g}", "--netuid", str(NETUID)),
        *("--weights-rate-limit", str(WEIGHTS_RATE_LIMIT_BLOCKS)),
        *("--state-dir", str(config.run_folder / "chain")),
    ]


def _miner_program(role: Role) -> list[str]:
    if role.behaviour is None:
        return _script("miners/vllm_miner.py")
    return [sys.executable, "-m", "localnet.cheating_miner", "--cheat", role.behaviour]


def miner_command(
    config: LocalnetConfig, number: int, role: Role, model: Path, calibration: Path
) -> list[str]:
    """The stock miner, or for a role with a behaviour the miner that cheats so, with the same flags."""
    name = miner_name(number)
    return [
        *_miner_program(role),
        *("--model", str(model), "--port", str(config.miner_port + number - 1), "--host", "127.0.0.1"),
        *("--hf-device", "cpu", "--calibration", str(calibration)),
        *("--state-dir", str(config.run_folder / name)),
        *_identity(config, name),
        *cpu_engine_flags(),
    ]


def database(config: LocalnetConfig) -> PostgresqlServer | None:
    """The server that several gateways or auditors share; None when there is one of each, with SQLite files.

    Raises:
        LocalnetError: PostgreSQL is not installed.
    """
    if not config.several:
        return None
    found = programs()
    if found is None:
        raise LocalnetError(
            "several gateways or auditors share a PostgreSQL server, which is not installed here; "
            "install it (apt-get install postgresql), or leave out --gateways and --auditors"
        )
    return PostgresqlServer(found, config.run_folder / "postgresql")


def _shared(config: LocalnetConfig, flag: str) -> list[str]:
    server = database(config)
    return [flag, server.url] if server else []


def gateway_command(config: LocalnetConfig, model: Path, calibration: Path, number: int = 1) -> list[str]:
    """Gateway `number`, from 1."""
    port = config.port + PORT_STRIDE * (number - 1)
    return [
        *_script("validator/hardened_gateway.py"),
        *("--port", str(port), "--host", "127.0.0.1", "--model", str(model), "--discover"),
        *("--calibration", str(calibration), "--state-dir", str(gateway_state(config, number))),
        *_shared(config, "--keys-database"),
        *("--metagraph-seconds", str(METAGRAPH_SECONDS)),
        *("--store", config.store_location, "--store-seconds", str(METAGRAPH_SECONDS)),
        *_endpoint(config),
        "--wallet-sign-in",
        *("--anonymous-requests-per-minute", "0", "--anonymous-tokens-per-minute", "0"),
        *_identity(config, VALIDATOR),
    ]


def auditor_command(config: LocalnetConfig, model: Path, calibration: Path, number: int = 1) -> list[str]:
    """Audit validator `number`, from 1."""
    port = config.auditor_port + PORT_STRIDE * (number - 1)
    return [
        *_script("validator/audit_validator.py"),
        *("--port", str(port), "--model", str(model), "--calibration", str(calibration)),
        *("--epoch-seconds", f"{config.epoch_seconds:g}", "--metagraph-seconds", str(METAGRAPH_SECONDS)),
        *("--gateway", config.gateway_url, "--synthetic-requests", str(SYNTHETIC_REQUESTS)),
        *("--state-dir", str(auditor_state(config, number)), "--store", config.store_location),
        *_among_several(config, number),
        *_endpoint(config),
        *_identity(config, VALIDATOR),
    ]


def _among_several(config: LocalnetConfig, number: int) -> list[str]:
    if not config.several:
        return []
    named = ["--auditor-name", f"auditor-{number}", "--records", ",".join(config.gateway_urls)]
    return [*named, *_shared(config, "--database")]


def auditor_state(config: LocalnetConfig, number: int = 1) -> Path:
    """The folder of an auditor's state; the first one's also holds the first gateway's record log."""
    return config.run_folder / (VALIDATOR if number == 1 else f"auditor-{number}")


def gateway_state(config: LocalnetConfig, number: int) -> Path:
    """The folder of a gateway's state."""
    return config.run_folder / (VALIDATOR if number == 1 else f"gateway-{number}")


def watchtower_command(config: LocalnetConfig, publisher: str, calibration: Path) -> list[str]:
    return [
        *_script("validator/watchtower.py"),
        *("--source", config.store_url or config.store_location, "--publisher", publisher),
        *("--poll-seconds", "2", *([] if config.store_url else _endpoint(config))),
        *("--calibration", str(calibration), "--state-dir", str(config.run_folder / WATCHTOWER)),
        *_identity(config, WATCHTOWER),
    ]
