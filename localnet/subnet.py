"""Starting every process of the subnet, in an order in which each finds what it needs."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from localnet.chain_node import dev_client
from localnet.children import Children
from localnet.commands import (
    NETUID,
    auditor_command,
    auditor_state,
    base_environment,
    chain_command,
    database,
    gateway_command,
    miner_command,
    miner_environment,
    watchtower_command,
)
from localnet.config import LocalnetConfig
from localnet.demo_model import DEMO_MODEL, build_demo_model
from localnet.errors import LocalnetError
from localnet.known_clients import introduce_clients
from localnet.readiness import accepts_connections, answers, get_json, wait_until
from localnet.roles import Role, role_model, role_named
from localnet.wallets import VALIDATOR, WATCHTOWER, Party, create_party, miner_name
from shared.calibration_header import CALIBRATION_FILE
from shared.model_identity import public_model_name

SHIPPED_CALIBRATION = Path(__file__).parent / "calibration" / f"{DEMO_MODEL}.calibration"

CHAIN_DEADLINE_S = 60.0
DATABASE_DEADLINE_S = 60.0
MINERS_DEADLINE_S = 600.0
"""Three engines at once on two cores are up in 67 to 97 s; a cold compiler cache and a busy machine
take several times that."""
SERVICES_DEADLINE_S = 180.0

RAO_PER_TAO = 10**9
FUNDS_RAO = 1_000 * RAO_PER_TAO
VALIDATOR_STAKE_RAO = 5_000 * RAO_PER_TAO
WATCHTOWER_STAKE_RAO = 1_000 * RAO_PER_TAO

Say = Callable[[str], None]


@dataclass(frozen=True)
class Miner:
    """One miner of the subnet."""

    number: int
    role: Role
    party: Party
    model: Path
    port: int


@dataclass(frozen=True)
class Subnet:
    """Who takes part, and what they serve."""

    model: Path
    calibration: Path
    validator: Party
    watchtower: Party
    miners: tuple[Miner, ...]

    def role_of(self, hotkey: str) -> str:
        """What the miner of that hotkey does, or "" for a hotkey that is no miner here."""
        return next((miner.role.name for miner in self.miners if miner.party.hotkey == hotkey), "")


def prepare(config: LocalnetConfig, say: Say) -> Subnet:
    """Models, calibration file and wallets; nothing is started.

    Raises:
        LocalnetError, ModelError: something that the subnet needs is missing.
    """
    roles = [role_named(name) for name in config.miners]
    if not config.keep:
        shutil.rmtree(config.run_folder, ignore_errors=True)
    models = config.folder / "models"
    if not config.model and not (models / DEMO_MODEL).exists():
        say(f"building the demo model {DEMO_MODEL} from the package that carries it")
    model = (
        Path(config.model).expanduser().resolve() if config.model else build_demo_model(models / DEMO_MODEL)
    )
    calibration = _calibration(model)
    say("creating wallets")
    miners = []
    for number, role in enumerate(roles, start=1):
        party = create_party(miner_name(number), config.wallets)
        port = config.miner_port + number - 1
        miners.append(Miner(number, role, party, role_model(role, model, models, say), port))
    validator, watchtower = (create_party(name, config.wallets) for name in (VALIDATOR, WATCHTOWER))
    return Subnet(model, calibration, validator, watchtower, tuple(miners))


def _calibration(model: Path) -> Path:
    beside = model / CALIBRATION_FILE
    if beside.exists():
        return beside
    if model.name == DEMO_MODEL and SHIPPED_CALIBRATION.exists():
        return SHIPPED_CALIBRATION
    raise LocalnetError(
        f"there is no calibration file for {model}; make it with: "
        f"python -m validator.calibrate --model {model} --out {beside}"
    )


async def start(config: LocalnetConfig, subnet: Subnet, children: Children, say: Say) -> None:
    """Start every process and wait until the public API can reach every miner.

    Raises:
        LocalnetError: a process died or did not come up.
    """
    environment = base_environment(config)
    await _start_database(config, children, environment, say)
    say("starting the chain node")
    await children.start("chain", chain_command(config), environment)
    await wait_until(
        "the chain node's start", accepts_connections(config.chain_port), children, CHAIN_DEADLINE_S
    )
    await register(config, subnet, say)
    await _start_miners(config, subnet, children, say)
    say(f"starting {_count(config)} and the watchtower")
    for number in range(1, config.gateways + 1):
        gateway = gateway_command(config, subnet.model, subnet.calibration, number)
        await children.start(_numbered("gateway", number), gateway, environment)
    for number in range(1, config.auditors + 1):
        introduce_clients(auditor_state(config, number), public_model_name(str(subnet.model)))
        auditor = auditor_command(config, subnet.model, subnet.calibration, number)
        await children.start(_numbered("auditor", number), auditor, environment)
    watchtower = watchtower_command(config, subnet.validator.hotkey, subnet.calibration)
    await children.start("watchtower", watchtower, environment)
    for url in config.auditor_urls:
        up = answers(f"{url}/health")
        await wait_until("the audit validator's start", up, children, SERVICES_DEADLINE_S)
    for url in config.gateway_urls:
        ready = _gateway_ready(url, len(config.miners))
        await wait_until("the gateway's discovery of every miner", ready, children, SERVICES_DEADLINE_S)


async def _start_database(
    config: LocalnetConfig, children: Children, environment: Mapping[str, str], say: Say
) -> None:
    """Start the server that several gateways or auditors share.

    Raises:
        LocalnetError: it can't be made, died or did not come up.
    """
    server = database(config)
    if server is None:
        return
    say("starting PostgreSQL")
    await asyncio.to_thread(server.prepare)
    await children.start("postgresql", server.command, environment)

    async def ready() -> bool:
        return await asyncio.to_thread(server.is_ready)

    await wait_until("PostgreSQL's start", ready, children, DATABASE_DEADLINE_S)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _count(config: LocalnetConfig) -> str:
    gateways = "the gateway" if config.gateways == 1 else f"{config.gateways} gateways"
    auditors = "the audit validator" if config.auditors == 1 else f"{config.auditors} audit validators"
    return f"{gateways}, {auditors}"


async def register(config: LocalnetConfig, subnet: Subnet, say: Say) -> None:
    """Fund and register every party on the chain; the validators get stake and permits."""
    say(f"registering {len(subnet.miners)} miners and 2 validators on netuid {NETUID}")
    stakes = [(subnet.validator, VALIDATOR_STAKE_RAO), (subnet.watchtower, WATCHTOWER_STAKE_RAO)]
    stakes += [(miner.party, 0) for miner in subnet.miners]
    for party, stake in stakes:
        for address in (party.coldkey, party.hotkey):
            await dev_client.fund(config.chain_url, address, FUNDS_RAO)
        await dev_client.register_neuron(
            config.chain_url,
            NETUID,
            party.hotkey,
            party.coldkey,
            stake_rao=stake,
            validator_permit=stake > 0,
        )


async def _start_miners(config: LocalnetConfig, subnet: Subnet, children: Children, say: Say) -> None:
    cores = sorted(os.sched_getaffinity(0))
    say(f"starting {len(subnet.miners)} miners; vLLM takes one to three minutes on a CPU")
    for miner in subnet.miners:
        command = miner_command(config, miner.number, miner.role, miner.model, subnet.calibration)
        name = miner_name(miner.number)
        await children.start(name, command, miner_environment(config, miner.number, cores))

    async def wait_for(miner: Miner) -> None:
        name = miner_name(miner.number)
        serving = answers(f"http://127.0.0.1:{miner.port}/health")
        await wait_until(f"the start of {name}", serving, children, MINERS_DEADLINE_S)
        say(f"{name} ({miner.role.name}) serves on port {miner.port}")

    async with asyncio.TaskGroup() as waiting:
        for miner in subnet.miners:
            waiting.create_task(wait_for(miner))


def _gateway_ready(url: str, miners: int) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        health = await get_json(f"{url}/health")
        return health is not None and health["miners_callable"] >= miners

    return ready
