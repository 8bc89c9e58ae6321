"""When blocks are made: on a timer, or as soon as there is something to put in one."""

import asyncio
import logging
from collections.abc import Callable

from localnet.chain_node.chain import Chain, ProducedBlock
from localnet.chain_node.ledger import Ledger
from localnet.chain_node.subscriptions import SubscriptionHub

_logger = logging.getLogger(__name__)


class BlockProducer:
    """Makes blocks and announces them."""

    def __init__(self, chain: Chain, hub: SubscriptionHub, *, block_seconds: float) -> None:
        self._chain = chain
        self._hub = hub
        self._block_seconds = block_seconds

    def produce(self, change: Callable[[Ledger], None] | None = None) -> ProducedBlock:
        """Makes one block now, with an optional change of the state by hand."""
        produced = self._chain.produce(change)
        self._hub.announce(produced)
        return produced

    def extrinsic_accepted(self) -> None:
        """Without a timer, makes a block once the request in hand is answered."""
        if not self._block_seconds:
            asyncio.get_running_loop().call_soon(self._produce_waiting)

    async def run(self) -> None:
        """Makes blocks on the timer until cancelled; does nothing where there is no timer."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while self._block_seconds:
            due = max(due + self._block_seconds, loop.time())
            await asyncio.sleep(due - loop.time())
            self._produce_logged()

    def _produce_waiting(self) -> None:
        if len(self._chain.pool):
            self._produce_logged()

    def _produce_logged(self) -> None:
        try:
            self.produce()
        except Exception:  # the root of block production: one bad block must not be the last
            _logger.exception("no block was made")
