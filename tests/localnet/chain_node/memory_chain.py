"""A chain without a socket, for tests of what goes into blocks."""

from pathlib import Path

from localnet.chain_node.accounts import deposit
from localnet.chain_node.block_store import BlockStore
from localnet.chain_node.chain import Chain, Environment
from localnet.chain_node.genesis import Genesis
from localnet.chain_node.ledger import Ledger, LedgerReader
from localnet.chain_node.neurons import adopt_hotkey, free_uid, seat
from localnet.chain_node.runtime import Runtime
from tests.localnet.chain_node.running_node import NETUID, ManualClock


class CountingBytes:
    """A random source that gives other bytes on every call, and the same ones in every test."""

    def __init__(self) -> None:
        self._calls = 0

    def __call__(self, count: int) -> bytes:
        self._calls += 1
        return self._calls.to_bytes(count, "big")


def open_chain(
    store: BlockStore,
    *,
    slot_duration_ms: int = 1_000,
    clock: ManualClock | None = None,
    random_bytes: CountingBytes | None = None,
) -> Chain:
    environment = Environment(clock or ManualClock(), random_bytes or CountingBytes())
    return Chain.open(Runtime(slot_duration_ms), store, Genesis(NETUID), environment)


def memory_chain(clock: ManualClock | None = None) -> Chain:
    return open_chain(BlockStore.open(None), clock=clock)


def disk_chain(folder: Path) -> tuple[Chain, BlockStore]:
    store = BlockStore.open(folder)
    return open_chain(store), store


def fund(chain: Chain, account: str, rao: int = 10**12) -> None:
    chain.produce(lambda ledger: deposit(ledger, account, rao))


def register(chain: Chain, hotkey: str, coldkey: str) -> int:
    """Seats a hotkey for free; returns its uid."""
    block_number = chain.head.number + 1

    def change(ledger: Ledger) -> None:
        assert adopt_hotkey(ledger, hotkey, coldkey)
        uid = free_uid(ledger, NETUID, block_number)
        assert uid is not None
        seat(ledger, NETUID, uid, hotkey, block_number)

    chain.produce(change)
    return int(chain.current.get("SubtensorModule.Uids", NETUID, hotkey))


def number_at(chain: Chain, block_hash: bytes | None) -> int:
    return int(LedgerReader(chain.runtime, chain.state_at(block_hash)).get("System.Number"))
