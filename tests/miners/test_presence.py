import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from localnet.wallets import Party
from miners.admission import Admission
from miners.axon_address import AxonAddress
from miners.presence import Presence
from shared.chain import Neuron, SubtensorChain
from shared.errors import ChainUnavailable, ConfigError
from shared.wallets import load_wallet
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID

SERVING_RATE_LIMIT_BLOCKS = 60
"""The chain takes a new axon of one hotkey only after this many blocks."""


def at(port: int, ip: str = "127.0.0.1") -> Callable[[], AxonAddress]:
    """An address that does not change."""
    return lambda: AxonAddress(ip, port)


async def neuron_of(chain: SubtensorChain, party: Party) -> Neuron:
    return next(neuron for neuron in await chain.neurons() if neuron.hotkey == party.hotkey)


async def test_the_axon_is_published_and_validators_admitted(
    chain_node: LocalChain, miner: Party, validator: Party, tmp_path: Path
) -> None:
    await chain_node.register(validator, permit=True)
    await chain_node.register(miner)
    wallet = load_wallet("miner", "default", tmp_path)
    chain, admission = SubtensorChain(chain_node.url, NETUID, wallet), Admission([])
    await Presence(chain, miner.hotkey, at(8091), admission).refresh()
    assert (await neuron_of(chain, miner)).axon == "127.0.0.1:8091"
    assert admission.admits(validator.hotkey)
    assert not admission.admits(miner.hotkey)
    await chain.close()


async def test_a_published_axon_is_not_published_again_but_a_wrong_one_is_replaced(
    chain_node: LocalChain, miner: Party, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await chain_node.register(miner)
    chain = SubtensorChain(chain_node.url, NETUID, load_wallet("miner", "default", tmp_path))
    with caplog.at_level(logging.INFO):
        for port, published in ((8091, 1), (8091, 1), (8092, 2)):
            await Presence(chain, miner.hotkey, at(port), Admission([])).refresh()
            assert caplog.text.count("is published") == published
            await chain_node.make_blocks(SERVING_RATE_LIMIT_BLOCKS)
    await chain.close()


async def test_the_validators_last_known_stay_admitted_while_the_chain_is_away(
    chain_node: LocalChain, miner: Party, validator: Party, tmp_path: Path
) -> None:
    await chain_node.register(validator, permit=True)
    await chain_node.register(miner)
    wallet = load_wallet("miner", "default", tmp_path)
    chain, admission = SubtensorChain(chain_node.url, NETUID, wallet), Admission([])
    presence = Presence(chain, miner.hotkey, at(8091), admission)
    await presence.refresh()
    await chain_node.stop()
    with pytest.raises(ChainUnavailable):
        await presence.refresh()
    assert admission.admits(validator.hotkey)
    await chain.close()


async def test_a_hotkey_that_loses_its_uid_is_reported_once(
    chain_node: LocalChain, miner: Party, caplog: pytest.LogCaptureFixture
) -> None:
    chain = SubtensorChain(chain_node.url, NETUID)
    presence = Presence(chain, miner.hotkey, at(8091), Admission([]))
    with caplog.at_level(logging.INFO):
        await presence.refresh()
        await presence.refresh()
    assert caplog.text.count("no longer registered") == 1
    await chain.close()


async def test_an_address_that_changes_is_published_as_soon_as_the_chain_takes_it(
    chain_node: LocalChain, miner: Party, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await chain_node.register(miner)
    chain = SubtensorChain(chain_node.url, NETUID, load_wallet("miner", "default", tmp_path))
    current = ["127.0.0.1"]
    presence = Presence(chain, miner.hotkey, lambda: AxonAddress(current[0], 8091), Admission([]))
    await presence.refresh()
    served = (await chain.head()).number
    current[0] = "127.0.0.2"
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await presence.refresh()
    assert "address has changed from 127.0.0.1:8091 to 127.0.0.2:8091" in caplog.text
    assert caplog.text.count("takes a new axon of this hotkey from block") == 1, "asked once, then waited for"
    assert (await neuron_of(chain, miner)).axon == "127.0.0.1:8091"
    (words,) = [one for one in caplog.messages if "is published at block" in one]
    free_at = int(words.split("block ")[1].split(":")[0])
    assert served < free_at <= served + SERVING_RATE_LIMIT_BLOCKS
    await chain_node.make_blocks(free_at - (await chain.head()).number)
    await presence.refresh()
    assert (await neuron_of(chain, miner)).axon == "127.0.0.2:8091"
    await chain.close()


async def test_an_address_that_can_not_be_learnt_leaves_the_last_one_published(
    chain_node: LocalChain, miner: Party, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await chain_node.register(miner)
    chain = SubtensorChain(chain_node.url, NETUID, load_wallet("miner", "default", tmp_path))
    resolves = [True]

    def address() -> AxonAddress:
        if not resolves[0]:
            raise ConfigError("the name leads to no address")
        return AxonAddress("127.0.0.1", 8091)

    presence = Presence(chain, miner.hotkey, address, Admission([]))
    resolves[0] = False
    await presence.refresh()
    assert (await neuron_of(chain, miner)).axon is None
    resolves[0] = True
    await presence.refresh()
    resolves[0] = False
    await presence.refresh()
    assert (await neuron_of(chain, miner)).axon == "127.0.0.1:8091"
    assert "the axon stays 127.0.0.1:8091: the name leads to no address" in caplog.text
    await chain.close()
