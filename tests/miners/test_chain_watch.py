"""What a miner's operator is told of the chain, against a real node."""

from pathlib import Path

import pytest

from localnet.wallets import Party
from miners.admission import Admission
from miners.axon_address import AxonAddress
from miners.chain_watch import ChainWatch
from miners.presence import Presence
from shared.chain import SubtensorChain
from shared.errors import ChainUnavailable
from shared.wallets import load_wallet
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID

AXON = AxonAddress("127.0.0.1", 8091)


async def test_nothing_is_wrong_before_the_first_reading_and_once_the_axon_is_published(
    chain_node: LocalChain, miner: Party, tmp_path: Path
) -> None:
    await chain_node.register(miner)
    chain = SubtensorChain(chain_node.url, NETUID, load_wallet("miner", "default", tmp_path))
    watch = ChainWatch(chain, miner.hotkey)
    assert watch.troubles() == {}
    presence = Presence(watch, miner.hotkey, lambda: AXON, Admission([]))
    await presence.refresh()
    assert set(watch.troubles()) == {"axon"}
    await presence.refresh()
    assert watch.troubles() == {}
    await watch.close()


async def test_a_hotkey_without_a_uid_and_a_chain_out_of_reach_are_troubles(
    chain_node: LocalChain, miner: Party
) -> None:
    watch = ChainWatch(SubtensorChain(chain_node.url, NETUID), miner.hotkey)
    await watch.neurons()
    assert "not registered" in watch.troubles()["registration"]
    await chain_node.stop()
    with pytest.raises(ChainUnavailable):
        await watch.neurons()
    assert "failed at ws://" in watch.troubles()["chain"]
    await watch.close()
