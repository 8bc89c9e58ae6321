"""The real SDK against a real node: localnet's, in this process, over a real websocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bittensor as bt
import pytest

from localnet.chain_node import dev_client
from localnet.chain_node.config import NodeConfig
from localnet.chain_node.node import build_node, listening_url, system_environment
from shared.chain import SubtensorChain, check_network, is_local_network
from shared.errors import ChainError, ChainUnavailable, ConfigError

NETUID = 97


@dataclass
class Parties:
    """A node's address, and the wallets of a validator, a miner and a stranger."""

    url: str
    validator: Any
    miner: Any
    stranger: Any


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("wallets")
    made = {}
    for name in ("validator", "miner", "stranger"):
        made[name] = bt.Wallet(name, "default", path=str(folder))
        made[name].create_new_coldkey(use_password=False, suppress=True)
        made[name].create_new_hotkey(use_password=False, suppress=True)
    return made


@pytest.fixture
async def parties(wallets: dict[str, Any], tmp_path: Path) -> AsyncIterator[Parties]:
    node = build_node(NodeConfig(port=0, block_seconds=0, weights_rate_limit=3), system_environment())
    server = await node.listen()
    url = listening_url(server)
    for wallet in wallets.values():
        await dev_client.fund(url, wallet.hotkey.ss58_address, 10**12)
    for name, permit in (("validator", True), ("miner", False)):
        hotkey, coldkey = wallets[name].hotkey.ss58_address, wallets[name].coldkeypub.ss58_address
        await dev_client.register_neuron(
            url, NETUID, hotkey, coldkey, stake_rao=10**9, validator_permit=permit
        )
    await dev_client.new_blocks(url, 5)
    yield Parties(url, **wallets)
    server.close()
    with suppress(TimeoutError):
        await asyncio.wait_for(server.wait_closed(), 5)


async def test_neurons_carry_permits_and_axons(parties: Parties) -> None:
    chain = SubtensorChain(parties.url, NETUID, parties.miner)
    await chain.serve_axon("127.0.0.1", 8091)
    validator, miner = await chain.neurons()
    assert (validator.uid, validator.validator_permit, validator.axon) == (0, True, None)
    assert (miner.uid, miner.validator_permit, miner.axon) == (1, False, "127.0.0.1:8091")
    assert miner.hotkey == parties.miner.hotkey.ss58_address
    await chain.close()


async def test_blocks_have_hashes_and_times_that_do_not_change(parties: Parties) -> None:
    chain = SubtensorChain(parties.url, NETUID)
    head = await chain.head()
    await dev_client.new_blocks(parties.url, 2)
    assert await chain.block(head.number) == head
    later = await chain.head()
    assert later.number == head.number + 2
    assert later.hash != head.hash
    assert later.timestamp_ms >= head.timestamp_ms
    await chain.close()


async def test_a_block_that_does_not_exist_yet_is_an_error_in_words(parties: Parties) -> None:
    chain = SubtensorChain(parties.url, NETUID)
    with pytest.raises(ChainError, match="1000000"):
        await chain.block(1_000_000)
    await chain.close()


async def test_weights_arrive_as_the_same_u16(parties: Parties) -> None:
    chain = SubtensorChain(parties.url, NETUID, parties.validator)
    await chain.set_weights({0: 12345, 1: 65535})
    assert (await chain.weights())[0] == {0: 12345, 1: 65535}
    await chain.close()


async def test_refusals_say_what_the_chain_or_the_sdk_before_it_calls_them(parties: Parties) -> None:
    for wallet, code in (
        (parties.stranger, "not_registered"),
        (parties.miner, "NeuronNoValidatorPermit"),
    ):
        chain = SubtensorChain(parties.url, NETUID, wallet)
        with pytest.raises(ChainError) as refused:
            await chain.set_weights({0: 1, 1: 1})
        assert not isinstance(refused.value, ChainUnavailable)
        assert refused.value.code == code
        await chain.close()


async def test_another_subnet_is_named_in_the_error(parties: Parties) -> None:
    chain = SubtensorChain(parties.url, 3)
    with pytest.raises(ChainError, match="no subnet 3"):
        await chain.neurons()
    await chain.close()


async def test_a_chain_that_is_not_there_is_unavailable_not_a_crash() -> None:
    chain = SubtensorChain("ws://127.0.0.1:9", NETUID)
    with pytest.raises(ChainUnavailable, match=r"failed at ws://127\.0\.0\.1:9"):
        await chain.head()
    await chain.close()


@pytest.mark.parametrize("network", ["local", "ws://127.0.0.1:9944", "ws://localhost:1", "ws://[::1]:9944"])
def test_a_node_on_this_machine_is_local(network: str) -> None:
    assert is_local_network(network)


@pytest.mark.parametrize(
    "network", ["finney", "test", "wss://node.example:443", "ws://127.0.0.1.example:9944"]
)
def test_any_other_network_is_not(network: str) -> None:
    assert not is_local_network(network)


def test_a_network_that_the_sdk_does_not_know_is_refused_with_those_that_it_does() -> None:
    check_network("ws://127.0.0.1:9944")
    check_network("finney")
    with pytest.raises(ConfigError, match="finney"):
        check_network("main")
