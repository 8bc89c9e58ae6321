"""The development chain node inside the test's own event loop; a block for every call."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from localnet.chain_node import dev_client
from localnet.chain_node.config import NodeConfig
from localnet.chain_node.node import build_node, listening_url, system_environment
from localnet.wallets import Party
from tests.miners.running_miner import NETUID


@dataclass
class LocalChain:
    """A node that listens at `url`."""

    url: str
    server: Any

    async def register(self, party: Party, permit: bool = False) -> int:
        return await dev_client.register_neuron(
            self.url, NETUID, party.hotkey, party.coldkey, stake_rao=10**12 * permit, validator_permit=permit
        )

    async def make_blocks(self, count: int) -> None:
        await dev_client.new_blocks(self.url, count)

    async def stop(self) -> None:
        """Close the node's connections and its port."""
        self.server.close()
        await self.server.wait_closed()


@asynccontextmanager
async def local_chain() -> AsyncIterator[LocalChain]:
    """A fresh chain with subnet 97."""
    node = build_node(NodeConfig(port=0, block_seconds=0, netuid=NETUID), system_environment())
    chain: LocalChain | None = None
    try:
        server = await node.listen()
        chain = LocalChain(listening_url(server), server)
        yield chain
    finally:
        if chain is not None:
            await chain.stop()
        node.store.close()
