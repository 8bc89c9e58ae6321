"""One connection of the real SDK that can always be given up at once.

The SDK's own `close` waits for its receive loop to end, which on Python 3.11 does not happen when a frame
arrives in the moment of the cancellation; its clean-up after a cancelled call asks the dead node to end a
subscription. Here the socket is aborted, which ends the loop whatever it swallowed, and nobody waits.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import bittensor as bt
from bittensor._substrate import RpcSubstrate
from bittensor._transport import SubstrateConnection
from bittensor._transport.errors import SubstrateRequestException
from bittensor._transport.rpc import _default_connect
from bittensor.result import ExtrinsicResult
from bittensor.settings import SS58_FORMAT

from shared.chain_network import Endpoint
from shared.chain_refusals import LOST_NAMES
from shared.deadline import leave_behind
from shared.errors import OutcomeUnknown

log = logging.getLogger(__name__)

Dial = Callable[[str], Awaitable[Any]]
"""Opens a websocket."""


class _Substrate(RpcSubstrate):
    """The SDK's backend with a hold on its sockets, and with the node's word kept apart from its silence."""

    def __init__(self, endpoint: Endpoint, dial: Dial) -> None:
        super().__init__(endpoint.url, archive_endpoints=list(endpoint.archives))
        self._dial = dial
        self._given_up = False
        self._sockets: list[Any] = []
        self._opened: list[SubstrateConnection] = []
        self.submissions = 0

    def _interface(self, endpoint: str, fallbacks: list[str]) -> SubstrateConnection:
        # One failure ends it: which endpoint is next is not the SDK's to decide.
        opened = SubstrateConnection(
            endpoint, ss58_format=SS58_FORMAT, max_retries=1, connect_factory=self._connect
        )
        self._opened.append(opened)
        return opened

    async def _connect(self, url: str) -> Any:
        if not self._given_up:
            socket = await self._dial(url)
            self._sockets = [socket, *(known for known in self._sockets if known.close_code is None)]
        if self._given_up:
            self._abort()
            raise ConnectionAbortedError("the connection was given up")
        return socket

    def _abort(self) -> None:
        for socket in self._sockets:
            socket.transport.abort()
        self._sockets.clear()

    def give_up(self) -> None:
        """Cut the sockets. What waits for an answer fails, and nothing is sent or opened any more."""
        self._given_up = True
        self._abort()
        for opened in self._opened:
            leave_behind(asyncio.create_task(opened.close()))
        self._opened.clear()

    async def _submit_and_report(self, *extrinsic: Any, **terms: Any) -> ExtrinsicResult:
        self.submissions += 1
        return await super()._submit_and_report(*extrinsic, **terms)

    def _failed_submit(self, error: Exception, signer_address: str) -> ExtrinsicResult:
        """Raises OutcomeUnknown: the node did not say that it refused."""
        result = super()._failed_submit(error, signer_address)
        silent = isinstance(error, SubstrateRequestException) and error.payload is None
        if result.error is not None and (result.error.name in LOST_NAMES or silent):
            raise OutcomeUnknown(str(error)) from error
        return result


class ChainConnection:
    """A client of one endpoint.

    Args:
        dial: opens the websocket; the SDK's own way unless tests pass theirs.
    """

    def __init__(self, endpoint: Endpoint, dial: Dial = _default_connect) -> None:
        self.endpoint = endpoint
        self._substrate = _Substrate(endpoint, dial)
        self.client: Any = bt.Client(endpoint.url, substrate=self._substrate)

    @property
    def submissions(self) -> int:
        """How many extrinsics were handed to the node, or were about to be."""
        return self._substrate.submissions

    async def open(self) -> None:
        """Connect. What the SDK raises passes through."""
        # Not `client.connect`, which reads the names of all subnets' tokens besides.
        await self._substrate.connect()

    def give_up(self) -> None:
        """End it now, from whatever state; needs a running event loop."""
        self._substrate.give_up()
