import logging

import pytest

from localnet.wallets import Party
from miners.config import MinerConfig
from miners.errors import NotRegistered
from miners.registration import own_neuron, read_neurons_patiently
from shared.chain import SubtensorChain
from shared.errors import ChainError, ChainUnavailable
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID, free_port


def config(url: str) -> MinerConfig:
    return MinerConfig(model="m", network=url, netuid=NETUID)


async def never(_: float) -> None:
    raise AssertionError("there was nothing to wait for")


async def test_a_registered_hotkey_finds_its_uid(
    chain_node: LocalChain, miner: Party, validator: Party
) -> None:
    await chain_node.register(validator, permit=True)
    uid = await chain_node.register(miner)
    chain = SubtensorChain(chain_node.url, NETUID)
    neurons = await read_neurons_patiently(chain, never)
    await chain.close()
    assert own_neuron(neurons, miner.hotkey, config(chain_node.url)).uid == uid


async def test_an_unregistered_hotkey_is_told_the_command(chain_node: LocalChain, miner: Party) -> None:
    chain = SubtensorChain(chain_node.url, NETUID)
    neurons = await chain.neurons()
    await chain.close()
    with pytest.raises(NotRegistered, match="btcli subnets register --netuid 97 --wallet miner"):
        own_neuron(neurons, miner.hotkey, config(chain_node.url))


async def test_an_unreachable_chain_is_asked_again_and_then_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    waited: list[float] = []

    async def sleep(delay_s: float) -> None:
        waited.append(delay_s)

    chain = SubtensorChain(f"ws://127.0.0.1:{free_port()}", NETUID)
    with caplog.at_level(logging.WARNING), pytest.raises(ChainUnavailable):
        await read_neurons_patiently(chain, sleep, delays_s=(1.0, 2.0))
    assert waited == [1.0, 2.0]
    assert "trying again in 2 s" in caplog.text


async def test_a_missing_subnet_is_not_waited_for(chain_node: LocalChain) -> None:
    chain = SubtensorChain(chain_node.url, 55)
    with pytest.raises(ChainError, match="check --netuid"):
        await read_neurons_patiently(chain, never)
    await chain.close()
