"""Nodes, wallets and SDK clients for the tests of the chain node."""

from collections.abc import Callable, Iterator
from pathlib import Path

import bittensor as bt
import pytest

from localnet.chain_node.config import NodeConfig
from tests.localnet.chain_node.running_node import TAO, RunningNode

WEIGHTS_RATE_LIMIT_BLOCKS = 5
TEMPO_BLOCKS = 20

WalletMaker = Callable[[str], bt.Wallet]


@pytest.fixture
def node() -> Iterator[RunningNode]:
    """A node that makes a block for every extrinsic."""
    config = NodeConfig(
        port=0, block_seconds=0, tempo=TEMPO_BLOCKS, weights_rate_limit=WEIGHTS_RATE_LIMIT_BLOCKS
    )
    with RunningNode(config) as running:
        yield running


@pytest.fixture
def client(node: RunningNode) -> Iterator[bt.Subtensor]:
    """The unmodified SDK, connected to the node."""
    subtensor = bt.Subtensor(node.url, fallback_endpoints=[], archive_endpoints=[])
    yield subtensor
    subtensor.close()


@pytest.fixture
def make_wallet(tmp_path: Path) -> WalletMaker:
    """Makes a wallet with fresh keys that nobody knows."""

    def make(name: str) -> bt.Wallet:
        wallet = bt.Wallet(name, "default", path=str(tmp_path / "wallets"))
        wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(use_password=False, suppress=True)
        return wallet

    return make


@pytest.fixture
def validator(node: RunningNode, make_wallet: WalletMaker) -> bt.Wallet:
    """Uid 0, with stake, a permit and 1000 TAO."""
    wallet = make_wallet("validator")
    node.fund(wallet.coldkeypub.ss58_address)
    assert node.register(wallet, stake_rao=5_000 * TAO, permit=True) == 0
    return wallet


@pytest.fixture
def miner(node: RunningNode, validator: bt.Wallet, make_wallet: WalletMaker) -> bt.Wallet:
    """Uid 1, with 1000 TAO, without stake or permit."""
    wallet = make_wallet("miner")
    node.fund(wallet.coldkeypub.ss58_address)
    assert node.register(wallet) == 1
    return wallet


@pytest.fixture
def stranger(make_wallet: WalletMaker) -> bt.Wallet:
    """Neither registered nor funded."""
    return make_wallet("stranger")
