import socket
from pathlib import Path

import pytest

from localnet.wallets import Party
from miners.config import MinerConfig
from miners.errors import NotRegistered
from miners.preparation import check_port_is_free, prepare
from shared.errors import ConfigError, ModelError
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID, free_port


def config(folder: Path, **changes: object) -> MinerConfig:
    settings: dict[str, object] = {
        "model": str(folder / "nothing"),
        "port": free_port(),
        "network": "ws://127.0.0.1:1",
        "netuid": NETUID,
        "wallet_path": folder,
        "state_dir": folder / "state",
        **changes,
    }
    return MinerConfig(**settings)  # type: ignore[arg-type]


def test_a_port_in_use_is_found_before_anything_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            check_port_is_free("127.0.0.1", port)
    check_port_is_free("127.0.0.1", port)


def test_a_missing_wallet_is_told_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="btcli wallet new-hotkey --wallet miner"):
        prepare(config(tmp_path))


def test_a_missing_calibration_is_told_where_to_get_one(miner: Party, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelError, match="--calibration FILE"):
        prepare(config(tmp_path, model=str(folder)))


def test_a_model_that_is_not_on_this_machine_is_said_in_words(miner: Party, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a local folder nor"):
        prepare(config(tmp_path, model="nobody/nothing"))


def test_a_damaged_calibration_is_refused(miner: Party, tmp_path: Path) -> None:
    file = tmp_path / "calibration"
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not a calibration file"):
        prepare(config(tmp_path, calibration=file))


def test_a_taken_port_is_refused_before_the_chain_is_asked(miner: Party, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="can't listen"):
            prepare(config(tmp_path, port=taken.getsockname()[1]))


async def test_an_unregistered_hotkey_ends_before_the_model_is_read(
    chain_node: LocalChain, miner: Party, tmp_path: Path, tiny_calibration_file: Path
) -> None:
    import asyncio

    unregistered = config(tmp_path, network=chain_node.url, calibration=tiny_calibration_file)
    with pytest.raises(NotRegistered, match="btcli subnets register"):
        await asyncio.to_thread(prepare, unregistered)
