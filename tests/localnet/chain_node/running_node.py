"""A real node on a real socket, in a thread of the test's process, with a clock that the test holds."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from os import urandom
from typing import Any, Self, TypeVar

import bittensor as bt

from localnet.chain_node import dev_client
from localnet.chain_node.chain import Environment
from localnet.chain_node.config import NodeConfig
from localnet.chain_node.node import build_node, listening_url

NETUID = 97
TAO = 10**9

T = TypeVar("T")


@dataclass
class ManualClock:
    """Unix milliseconds that move only when told to."""

    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


class RunningNode:
    """Use as a context manager; `url` answers inside it."""

    def __init__(self, config: NodeConfig) -> None:
        self.clock = ManualClock()
        self._config = config
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.node = build_node(self._config, Environment(self.clock, urandom))
        server = await self.node.listen()
        production = asyncio.create_task(self.node.producer.run())
        self.url = listening_url(server)
        self._ready.set()
        await self._stop.wait()
        production.cancel()
        server.close()
        await server.wait_closed()
        self.node.store.close()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()

    def inside(self, action: Callable[[], T]) -> T:
        """Runs something in the node's own thread."""

        async def run() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(timeout=30)

    def fund(self, ss58: str, rao: int = 1_000 * TAO) -> int:
        return wait(dev_client.fund(self.url, ss58, rao))

    def register(self, wallet: bt.Wallet, *, stake_rao: int = 0, permit: bool = False) -> int:
        return wait(
            dev_client.register_neuron(
                self.url,
                NETUID,
                wallet.hotkey.ss58_address,
                wallet.coldkeypub.ss58_address,
                stake_rao=stake_rao,
                validator_permit=permit,
            )
        )

    def set(self, name: str, value: int | bool) -> None:
        wait(dev_client.set_hyperparameter(self.url, NETUID, name, value))

    def blocks(self, count: int = 1) -> dev_client.BlockReference:
        return wait(dev_client.new_blocks(self.url, count))


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end in a loop of its own."""
    return asyncio.run(coroutine)
