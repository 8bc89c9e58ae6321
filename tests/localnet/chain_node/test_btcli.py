"""The real btcli, as a process, against the node."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest

from tests.localnet.chain_node.running_node import NETUID, TAO, RunningNode

BTCLI = Path(sys.executable).parent / "btcli"


class Btcli:
    """Runs commands for one wallet directory; nothing of the user's home is read."""

    def __init__(self, node: RunningNode, wallets: Path, home: Path) -> None:
        self._options = ["--network", node.url, "--wallet-path", str(wallets), "--json"]
        folders = {"HOME": home, "BITTENSOR_RUNTIME_CACHE_DIR": home / "runtime"}
        folders["BTCLI_TOKEN_SYMBOLS_CACHE"] = home / "symbols.json"
        self._environment = os.environ | {name: str(path) for name, path in folders.items()}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BTCLI), *arguments, *self._options],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)


@pytest.fixture
def btcli(node: RunningNode, tmp_path: Path) -> Btcli:
    return Btcli(node, tmp_path / "wallets", tmp_path / "home")


def test_the_subnet_is_listed_with_its_metagraph_and_hyperparameters(
    btcli: Btcli, client: bt.Subtensor, miner: bt.Wallet
) -> None:
    assert client.execute(bt.ServeAxon(netuid=NETUID, ip="203.0.113.7", port=8091), miner).success
    metagraph = btcli.json("subnets", "metagraph", str(NETUID))
    assert metagraph["hotkeys"][1] == miner.hotkey.ss58_address
    assert metagraph["total_stake"] == [5_000 * TAO, 0]
    assert metagraph["validator_permit"] == [True, False]
    assert metagraph["axons"][1]["port"] == 8091
    (listed,) = btcli.json("subnets", "list")
    assert (listed["netuid"], listed["neurons"]) == (NETUID, 2)
    assert btcli.json("subnets", "show", str(NETUID))["neurons"] == 2
    hyperparameters = json.dumps(btcli.json("subnets", "hyperparameters", str(NETUID)))
    assert "weights_rate_limit" in hyperparameters
    assert btcli.json("subnets", "burn-cost", str(NETUID))["tao"] == 1.0


def test_a_wallet_is_shown_with_balance_and_stake(btcli: Btcli, validator: bt.Wallet) -> None:
    balance = btcli.json("wallet", "balance", "--wallet", "validator")
    assert (balance["free_tao"], balance["stake_value_tao"]) == (1_000.0, 5_000.0)
    (overview,) = btcli.json("wallet", "overview", "--wallet", "validator")
    (stake,) = overview["stakes"]
    assert (stake["hotkey"], stake["uid"]) == (validator.hotkey.ss58_address, 0)
    inspected = btcli.json("wallet", "inspect", "--wallet", "validator")
    assert inspected["balance"]["free_tao"] == 1_000.0


def test_registering_charges_the_burn_and_gives_a_uid(
    btcli: Btcli, node: RunningNode, client: bt.Subtensor, stranger: bt.Wallet
) -> None:
    register = ("subnets", "register", "--netuid", str(NETUID), "--wallet", "stranger", "--yes")
    poor = btcli.run(*register)
    assert poor.returncode != 0
    assert client.subnets.metagraph(NETUID).hotkeys == []
    node.fund(stranger.coldkeypub.ss58_address, 3 * TAO)
    result = btcli.run(*register)
    assert result.returncode == 0, result.stdout + result.stderr
    assert client.subnets.metagraph(NETUID).hotkeys == [stranger.hotkey.ss58_address]
    assert client.balances.get(stranger.coldkeypub.ss58_address).rao == 2 * TAO


def test_axons_weights_and_transfers_are_sent(
    btcli: Btcli, client: bt.Subtensor, validator: bt.Wallet, miner: bt.Wallet, stranger: bt.Wallet
) -> None:
    subnet = ("--netuid", str(NETUID), "--wallet", "validator", "--yes")
    address = ("--ip", "203.0.113.9", "--port", "8092")
    weights = ("--uids", "1", "--weights", "1.0")
    destination = stranger.coldkeypub.ss58_address
    transfer = ("--dest", destination, "--amount", "2", "--wallet", "validator", "--yes")
    for command in (
        ("axon", "set", *address, *subnet),
        ("weights", "set", *weights, *subnet),
        ("wallet", "transfer", *transfer),
    ):
        result = btcli.run(*command)
        assert result.returncode == 0, result.stdout + result.stderr
    assert client.subnets.metagraph(NETUID).neuron(0).axon == "203.0.113.9:8092"
    assert client.weights.weights(NETUID) == {0: {1: 1.0}}
    assert client.balances.get(destination).rao == 2 * TAO
