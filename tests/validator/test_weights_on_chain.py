"""Weights through the real SDK, over a real websocket, onto a development node."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest
from bittensor.sp_core import Keypair

from localnet.chain_node import dev_client
from localnet.chain_node.config import NodeConfig
from shared.chain import SubtensorChain
from shared.errors import ChainError, ChainUnavailable
from tests.localnet.chain_node.running_node import NETUID, TAO, RunningNode
from tests.shared.misbehaving_node import SUBMIT, misbehaving
from validator.blame import OwnFault
from validator.block_window import BlockWindow
from validator.database import Database
from validator.weight_setter import RETRY_BLOCKS, WeightSetter
from validator.weight_state import WeightEntry, WeightQueue

RATE_LIMIT_BLOCKS = 30


def new_wallet(folder: Path, name: str) -> Any:
    wallet = bt.Wallet(name, "default", path=str(folder))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(use_password=False, suppress=True)
    return wallet


@pytest.fixture
def node(request: pytest.FixtureRequest) -> Iterator[RunningNode]:
    config = NodeConfig(
        port=0,
        block_seconds=0,
        weights_rate_limit=RATE_LIMIT_BLOCKS,
        commit_reveal=bool(getattr(request, "param", False)),
    )
    with RunningNode(config) as running:
        yield running


class Subnet:
    """A validator with a permit and three miners, on a node."""

    def __init__(self, node: RunningNode, folder: Path, database: Database) -> None:
        self.url = node.url
        self.validator = new_wallet(folder, "validator")
        self.miners = [new_wallet(folder, f"miner{number}") for number in range(3)]
        self.chain = SubtensorChain(node.url, NETUID, self.validator)
        self.queue = WeightQueue(database)
        self.setter = WeightSetter(self.chain, self.queue, self.hotkey, NETUID)

    @property
    def hotkey(self) -> str:
        return str(self.validator.hotkey.ss58_address)

    async def register(self, wallet: Any, **fields: Any) -> int:
        return await dev_client.register_neuron(
            self.url, NETUID, wallet.hotkey.ss58_address, wallet.coldkeypub.ss58_address, **fields
        )

    def entries(self, *weights: int) -> list[WeightEntry]:
        return [
            WeightEntry(uid, str(wallet.hotkey.ss58_address), weight)
            for uid, (wallet, weight) in enumerate(zip(self.miners, weights, strict=True), start=1)
        ]


@pytest.fixture
async def subnet(node: RunningNode, tmp_path: Path, database: Database) -> AsyncIterator[Subnet]:
    built = await asyncio.to_thread(Subnet, node, tmp_path / "wallets", database)
    await dev_client.fund(node.url, built.validator.coldkeypub.ss58_address, 1_000 * TAO)
    await built.register(built.validator, stake_rao=5_000 * TAO, validator_permit=True)
    for miner in built.miners:
        await built.register(miner)
    yield built
    await built.chain.close()


async def test_exactly_the_published_weights_arrive(subnet: Subnet) -> None:
    subnet.queue.queue(1, subnet.entries(65535, 21846, 1), "")
    await subnet.setter.step()
    assert await subnet.chain.weights() == {0: {1: 65535, 2: 21846, 3: 1}}
    newest = subnet.queue.newest()
    assert newest is not None
    assert newest.state == "set"


async def test_the_chains_rate_limit_is_kept_and_the_next_weights_follow(subnet: Subnet) -> None:
    assert await subnet.chain.weights_rate_limit() == RATE_LIMIT_BLOCKS
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await subnet.setter.step()
    subnet.queue.queue(2, subnet.entries(1, 65535, 1), "")
    await subnet.setter.step()
    waiting = subnet.queue.waiting()
    assert waiting is not None
    assert waiting.detail.startswith(f"the chain takes weights every {RATE_LIMIT_BLOCKS} blocks")
    await dev_client.new_blocks(subnet.url, RATE_LIMIT_BLOCKS)
    await subnet.setter.step()
    assert await subnet.chain.weights() == {0: {1: 1, 2: 65535, 3: 1}}


async def test_the_sdks_own_refusal_for_haste_is_understood(subnet: Subnet) -> None:
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await subnet.setter.step()
    subnet.queue.queue(2, subnet.entries(1, 65535, 1), "")

    async def no_limit() -> int:
        return 0

    subnet.chain.weights_rate_limit = no_limit  # type: ignore[method-assign]
    await subnet.setter.step()
    waiting = subnet.queue.waiting()
    assert waiting is not None
    assert (waiting.state, waiting.detail) == ("pending", "the chain asks to wait")


async def committed_again(subnet: Subnet, first: int) -> bool:
    await subnet.setter.step()
    return (await subnet.chain.weight_commits())[subnet.hotkey] > first


@pytest.mark.parametrize("node", [True], indirect=True)
async def test_a_commit_that_the_chain_drops_unrevealed_is_told_and_made_again(
    subnet: Subnet, caplog: pytest.LogCaptureFixture
) -> None:
    """The development node opens no commits and forgets them after 16 epochs."""
    await dev_client.set_hyperparameter(subnet.url, NETUID, "tempo", 10)
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await subnet.setter.step()
    first = (await subnet.chain.weight_commits())[subnet.hotkey]
    await dev_client.new_blocks(subnet.url, 60)
    await subnet.setter.step()
    assert (await subnet.chain.weight_commits())[subnet.hotkey] == first, "it still waits"
    await dev_client.new_blocks(subnet.url, 140)
    assert await committed_again(subnet, first)
    assert "dropped the commitment to them without revealing it, the chain shows no weights" in caplog.text
    newest = subnet.queue.newest()
    assert newest is not None
    assert newest.state == "committed"


@pytest.mark.parametrize("lost", [True, False])
@pytest.mark.parametrize("node", [True, False], indirect=True)
async def test_weights_whose_answer_is_lost_are_found_on_chain_also_after_a_restart_and_sent_once(
    subnet: Subnet, node: RunningNode, lost: bool
) -> None:
    async with misbehaving(node.url) as proxy:
        chain = SubtensorChain(proxy.url, NETUID, subnet.validator)
        subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
        proxy.drop_after = {SUBMIT} if lost else set()
        try:
            await WeightSetter(chain, subnet.queue, subnet.hotkey, NETUID).step()
        except ChainUnavailable:
            assert lost
        newest = subnet.queue.newest()
        assert newest is not None
        assert (newest.state == "sending") == lost
        for _ in range(3):
            await WeightSetter(chain, subnet.queue, subnet.hotkey, NETUID).step()
            await dev_client.new_blocks(subnet.url, RATE_LIMIT_BLOCKS)
        await chain.close()
        assert proxy.asked[SUBMIT] == 1
    newest = subnet.queue.newest()
    assert newest is not None
    assert newest.state == ("committed" if await subnet.chain.commits_weights() else "set")


async def test_the_chains_version_of_weights_is_the_one_that_is_sent(subnet: Subnet) -> None:
    await dev_client.set_hyperparameter(subnet.url, NETUID, "weights_version", 7)
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await subnet.setter.step()
    assert subnet.queue.waiting() is None


async def test_a_limit_of_one_miners_share_is_no_difference(
    subnet: Subnet, caplog: pytest.LogCaptureFixture
) -> None:
    await dev_client.set_hyperparameter(subnet.url, NETUID, "max_weights_limit", 30_000)
    subnet.queue.queue(1, subnet.entries(65535, 1000, 1000), "")
    await subnet.setter.step()
    row = (await subnet.chain.weights())[0]
    assert row != {1: 65535, 2: 1000, 3: 1000}
    newest = subnet.queue.newest()
    assert newest is not None
    assert newest.detail.startswith("accepted after block")
    assert "instead of" not in caplog.text


@pytest.mark.parametrize("node", [True], indirect=True)
async def test_under_commit_reveal_the_weights_are_committed_and_not_yet_visible(subnet: Subnet) -> None:
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await subnet.setter.step()
    newest = subnet.queue.newest()
    assert newest is not None
    assert newest.state == "committed"
    assert await subnet.chain.weights() == {}
    assert newest.detail.startswith(
        f"committed to in block {(await subnet.chain.weight_commits())[subnet.hotkey]}"
    )
    own = (await subnet.chain.neurons())[0]
    assert own.last_update >= (newest.sent_at_block or 0)
    assert own.last_update > 0


async def test_without_a_permit_the_operator_is_told_and_it_goes_on_once_there_is_one(subnet: Subnet) -> None:
    await subnet.register(subnet.validator, stake_rao=5_000 * TAO, validator_permit=False)
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await subnet.setter.step()
    waiting = subnet.queue.waiting()
    assert waiting is not None
    assert "add stake" in waiting.detail
    await subnet.register(subnet.validator, stake_rao=5_000 * TAO, validator_permit=True)
    await dev_client.new_blocks(subnet.url, RETRY_BLOCKS)
    await subnet.setter.step()
    assert subnet.queue.waiting() is None


async def test_an_unregistered_hotkey_is_told_how_to_register(
    subnet: Subnet, tmp_path: Path, database: Database
) -> None:
    stranger = await asyncio.to_thread(new_wallet, tmp_path / "wallets", "stranger")
    chain = SubtensorChain(subnet.url, NETUID, stranger)
    subnet.queue.queue(1, subnet.entries(65535, 1, 1), "")
    await WeightSetter(chain, subnet.queue, stranger.hotkey.ss58_address, NETUID).step()
    waiting = subnet.queue.waiting()
    assert waiting is not None
    assert f"btcli subnets register --netuid {NETUID}" in waiting.detail
    await chain.close()


async def test_blocks_have_the_chains_own_hashes_and_times(subnet: Subnet) -> None:
    window = BlockWindow(subnet.chain)
    first = await window.refresh()
    await dev_client.new_blocks(subnet.url, 3)
    newest = await window.refresh()
    assert newest.number >= first.number + 3
    assert await window.challenge_block(first.timestamp_ms) == await subnet.chain.block(first.number + 1)


async def test_an_auditor_with_a_permit_may_blame_miners_and_one_without_may_not(subnet: Subnet) -> None:
    fault = OwnFault(subnet.chain, subnet.hotkey)
    await fault.rule_out()
    await subnet.register(subnet.validator, stake_rao=5_000 * TAO, validator_permit=False)
    with pytest.raises(ChainError, match="has no validator permit"):
        await fault.rule_out()
    stranger = OwnFault(subnet.chain, Keypair.create_from_uri("//Stranger").ss58_address)
    with pytest.raises(ChainError, match="is not registered"):
        await stranger.rule_out()
