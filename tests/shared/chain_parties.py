"""A development node with a validator and a miner, and chains that reach it with short deadlines."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bittensor as bt

from localnet.chain_node.config import NodeConfig
from shared.chain import SubtensorChain
from shared.chain_link import Deadlines, Environment
from tests.localnet.chain_node.running_node import NETUID, TAO, ManualClock, RunningNode

SHORT = Deadlines(open_s=0.9, read_s=0.9, write_s=0.9)
"""Long enough for a busy machine's loopback, short enough to wait for."""


def new_wallet(folder: Path, name: str) -> Any:
    """A wallet with new keys."""
    wallet = bt.Wallet(name, "default", path=str(folder))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(use_password=False, suppress=True)
    return wallet


@dataclass
class HeldTime:
    """Clocks that move when somebody sleeps, or when told to."""

    now_s: float = 1_000.0
    slept_s: list[float] = field(default_factory=list)
    unix_ms: ManualClock = field(default_factory=ManualClock)

    def monotonic_s(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.pass_s(seconds)

    @property
    def environment(self) -> Environment:
        return Environment(self.monotonic_s, self.unix_ms, lambda: 1.0, self.sleep)


@dataclass
class Parties:
    """What tests of the chain need. `time` is the node's and the chains' clock."""

    node: RunningNode
    validator: Any
    miner: Any
    time: HeldTime
    made: list[SubtensorChain] = field(default_factory=list)

    def chain(self, *urls: str, wallet: Any = None, deadlines: Deadlines = SHORT) -> SubtensorChain:
        made = SubtensorChain(",".join(urls), NETUID, wallet, deadlines, self.time.environment)
        self.made.append(made)
        return made

    async def blocks(self, count: int = 1) -> int:
        """Make blocks, twelve seconds each; gives the newest number."""
        for _ in range(count):
            self.node.clock.now_ms += 12_000
            self.time.pass_s(12)
            reference = await asyncio.to_thread(self.node.blocks)
        return reference.number

    def nonce(self, wallet: Any) -> int:
        """How many extrinsics of a hotkey are on chain."""
        return self.node.inside(lambda: self.node.node.chain.next_nonce(wallet.hotkey.ss58_address))


@asynccontextmanager
async def parties(folder: Path, config: NodeConfig | None = None) -> AsyncIterator[Parties]:
    """A running node, its validator with uid 0 and its miner with uid 1."""
    node = RunningNode(config or NodeConfig(port=0, block_seconds=0))
    await asyncio.to_thread(node.__enter__)
    try:
        validator, miner = await asyncio.to_thread(
            lambda: (new_wallet(folder, "validator"), new_wallet(folder, "miner"))
        )
        for wallet, stake_rao in ((validator, 5_000 * TAO), (miner, 0)):
            await asyncio.to_thread(node.register, wallet, stake_rao=stake_rao, permit=bool(stake_rao))
        built = Parties(node, validator, miner, HeldTime(unix_ms=node.clock))
        await built.blocks(5)
        yield built
        for chain in built.made:
            await chain.close()
    finally:
        # In a thread, so that this loop goes on closing its sockets, for which the node waits.
        await asyncio.to_thread(node.__exit__, None, None, None)
