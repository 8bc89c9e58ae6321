"""The auditor's flags for synthetic traffic, and the whole auditor with it behind a real gateway."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ConfigError
from tests.gateway.running_gateway import RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import MODEL
from tests.validator.auditor_examples import ExampleAuditor, ExampleChain, block_number, neuron
from validator.audit_config import AuditConfig, load_config
from validator.audit_process import AuditValidator, open_database
from validator.status_server import listen
from validator.surroundings import Pauses, Surroundings
from validator.synthetic_start import synthetic_traffic
from validator.synthetic_traffic import SyntheticTraffic
from validator.troubles import Troubles

GATEWAY = keypair("gateway")


async def built(**settings: Any) -> SyntheticTraffic | None:
    config = AuditConfig(**settings)
    async with synthetic_traffic(config, GATEWAY, MODEL, list, Troubles(), lambda: 0) as found:
        return found


async def test_without_a_gateway_there_is_no_synthetic_traffic(tmp_path: Path) -> None:
    assert await built(state_dir=tmp_path) is None
    assert await built(state_dir=tmp_path, gateway="http://127.0.0.1:8081") is not None


async def test_a_wrong_gateway_or_corpus_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--gateway is"):
        await built(state_dir=tmp_path, gateway="127.0.0.1:8081")
    with pytest.raises(ConfigError, match="--synthetic-prompts"):
        await built(state_dir=tmp_path, gateway="http://h", synthetic_prompts=tmp_path / "none")


def test_the_flags_are_understood() -> None:
    argv = ["--gateway", "http://h:1", "--gateway-hotkey", "5F", "--synthetic-requests", "20"]
    config = load_config([*argv, "--synthetic-prompts", "/corpus"], {}, Path("/none"))
    assert (config.gateway, config.gateway_hotkey, config.synthetic_requests) == ("http://h:1", "5F", 20)
    assert config.synthetic_prompts == Path("/corpus")
    with pytest.raises(ConfigError, match="--synthetic-requests"):
        load_config(["--synthetic-requests", "0"], {}, Path("/none"))


async def run_auditor(gateway: RunningGateway, config: AuditConfig, folder: Path, miners: list[Any]) -> bool:
    """Run a whole auditor until the gateway has some records; whether it ended well."""
    calibration = folder / "calibration"
    calibration.write_bytes(b"calibration")
    registered = [neuron(GATEWAY, 0, None)]
    registered += [neuron(miner.signer, uid, miner.address) for uid, miner in enumerate(miners, start=1)]
    around = Surroundings(
        GATEWAY,
        ExampleChain(registered),
        ExampleAuditor({}),
        MODEL,
        calibration,
        lambda: block_number(1).timestamp_ms,
        Pauses(0.01, 0.01, 0.01, 0.01),
    )
    database = await asyncio.to_thread(open_database, config)
    stop = asyncio.Event()
    with listen("127.0.0.1", 0) as listener:
        running = asyncio.create_task(AuditValidator(config, around, database).run(stop, listener))
        await gateway.records_when(6)
        stop.set()
        clean = await running
    database.close()
    return clean


async def test_the_auditor_brings_traffic_to_a_miner_that_has_no_clients(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        config = AuditConfig(
            state_dir=tmp_path / "state",
            records=(str(gateway.folder),),
            gateway=gateway.url,
            synthetic_requests=50,
            epoch_seconds=5.0,
            metagraph_seconds=0.05,
        )
        assert await run_auditor(gateway, config, tmp_path, list(gateway.miners))
        assert {record.outcome for record in gateway.records()} <= {"answered", "client_left"}
    assert (tmp_path / "state" / "synthetic.json").exists()
