import logging
from pathlib import Path

import pytest

from localnet.wallets import Party
from miners.admission import Admission
from miners.axon_address import AxonAddress
from miners.presence import Presence
from shared.chain import Neuron, SubtensorChain
from shared.errors import ChainUnavailable
from shared.wallets import load_wallet
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID

SERVING_RATE_LIMIT_BLOCKS = 60
"""The chain takes a new axon of one hotkey only after this many blocks."""


async def neuron_of(chain: SubtensorChain, party: Party) -> Neuron:
    return next(neuron for neuron in await chain.neurons() if neuron.hotkey == party.hotkey)


async def test_the_axon_is_published_and_validators_admitted(
    chain_node: LocalChain, miner: Party, validator: Party, tmp_path: Path
) -> None:
    await chain_node.register(validator, permit=True)
    await chain_node.register(miner)
    wallet = load_wallet("miner", "default", tmp_path)
    chain, admission = SubtensorChain(chain_node.url, NETUID, wallet), Admission([])
    await Presence(chain, miner.hotkey, AxonAddress("127.0.0.1", 8091), admission).refresh()
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
            await Presence(chain, miner.hotkey, AxonAddress("127.0.0.1", port), Admission([])).refresh()
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
    presence = Presence(chain, miner.hotkey, AxonAddress("127.0.0.1", 8091), admission)
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
    presence = Presence(chain, miner.hotkey, AxonAddress("127.0.0.1", 8091), Admission([]))
    with caplog.at_level(logging.INFO):
        await presence.refresh()
        await presence.refresh()
    assert caplog.text.count("no longer registered") == 1
    await chain.close()
