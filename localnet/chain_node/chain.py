"""The chain: its blocks, its state now and a while back, its pool, and making the next block."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from localnet.chain_node import accounts
from localnet.chain_node.block_store import BlockStore, StateDirectoryError, encode_changes
from localnet.chain_node.blocks import NO_PARENT, SEAL_BYTES, Block
from localnet.chain_node.execution import BlockExecutor, decode_call
from localnet.chain_node.extrinsics import (
    SignedExtrinsic,
    TransactionError,
    check_nonce,
    check_signature,
    parse_extrinsic,
)
from localnet.chain_node.genesis import Genesis, write_genesis
from localnet.chain_node.ledger import Ledger, LedgerReader
from localnet.chain_node.pool import TransactionPool
from localnet.chain_node.runtime import Runtime, blake2_256
from localnet.chain_node.scale_encoding import ScaleError
from localnet.chain_node.shield import SEED_BYTES, Shield
from localnet.chain_node.state import Changes, CommittedState, Overlay, ReadableState
from localnet.chain_node.wire_values import to_hex

KEPT_STATES_BLOCKS = 512
"""How far back state can be read; twice what a Subtensor node that is no archive keeps."""

_METADATA_DIGEST = "metadata digest"
_SHIELD_SEED = "shield seed"


class UnknownBlockError(LookupError):
    """There is no block of that hash."""


class StateDiscardedError(LookupError):
    """The block exists, but its state is too old to be read."""


@dataclass(frozen=True)
class Environment:
    """What the chain takes from outside: the time in Unix milliseconds, and random bytes."""

    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]


@dataclass(frozen=True)
class ProducedBlock:
    block: Block
    included: tuple[SignedExtrinsic, ...]
    refused: tuple[SignedExtrinsic, ...]


class Chain:
    """Owns the store, the state and the pool. Not safe for threads; nothing here waits."""

    def __init__(self, runtime: Runtime, store: BlockStore, environment: Environment) -> None:
        newest, seed = store.newest(), store.fact(_SHIELD_SEED)
        if newest is None or seed is None:
            raise StateDirectoryError("the state directory holds no chain; start with an empty one")
        self.runtime = runtime
        self.pool = TransactionPool()
        self._store = store
        self._environment = environment
        self._shield = Shield(seed)
        self._state = CommittedState(store.state())
        self._undo: dict[int, Changes] = dict(store.undo_changes())
        self._head = newest

    @classmethod
    def open(cls, runtime: Runtime, store: BlockStore, genesis: Genesis, environment: Environment) -> "Chain":
        """Continues the chain in the store, or begins one.

        Raises:
            StateDirectoryError: the chain there was made with other metadata (another version of this node,
                or another block time), which clients have cached under its genesis hash.
        """
        digest = blake2_256(runtime.metadata)
        known_digest = store.fact(_METADATA_DIGEST)
        if known_digest is None:
            _begin(runtime, store, genesis, environment)
        elif known_digest != digest:
            raise StateDirectoryError(
                "the chain in the state directory was begun by another version of this node or with another "
                "--block-seconds; start with those again, or with an empty --state-dir"
            )
        return cls(runtime, store, environment)

    @property
    def head(self) -> Block:
        return self._head

    @property
    def current(self) -> LedgerReader:
        """The state after the newest block."""
        return LedgerReader(self.runtime, self._state)

    def block(self, block_hash: bytes) -> Block | None:
        return self._head if block_hash == self._head.hash else self._store.block(block_hash)

    def hash_at(self, number: int) -> bytes | None:
        return self._store.hash_at(number)

    def state_at(self, block_hash: bytes | None) -> ReadableState:
        """The state after a block, the newest one if none is named.

        Raises:
            UnknownBlockError: there is no such block.
            StateDiscardedError: it is more than `KEPT_STATES_BLOCKS` blocks old.
        """
        if block_hash is None or block_hash == self._head.hash:
            return self._state
        block = self._store.block(block_hash)
        if block is None:
            raise UnknownBlockError(to_hex(block_hash))
        if block.number + len(self._undo) < self._head.number:
            raise StateDiscardedError(to_hex(block_hash))
        return Overlay(self._state, self._undone(block.number))

    def _undone(self, number: int) -> Changes:
        """What differs at a past block from now: of several changes to a key, the oldest counts."""
        changes: dict[bytes, bytes | None] = {}
        for later in range(self._head.number, number, -1):
            changes.update(self._undo[later])
        return changes

    def next_nonce(self, account: str) -> int:
        """The nonce for an account's next transaction, those in the pool counted."""
        return accounts.nonce(self.current, account) + self.pool.pending_count(account)

    def submit(self, raw: bytes) -> SignedExtrinsic:
        """Takes an extrinsic into the pool.

        Raises:
            TransactionError: the pool refuses it.
        """
        try:
            extrinsic = parse_extrinsic(raw)
            self.pool.ensure_room(extrinsic)
            decode_call(self.runtime, extrinsic.call_data)
        except ScaleError as error:
            raise TransactionError(1001, "Extrinsic has invalid format", str(error)) from error
        check_nonce(extrinsic, self.next_nonce(extrinsic.signer))
        check_signature(extrinsic, self._head.number + 1, self.hash_at)
        self.pool.add(extrinsic)
        return extrinsic

    def produce(self, change: Callable[[Ledger], None] | None = None) -> ProducedBlock:
        """Makes the next block of whatever waits in the pool.

        `change` alters the state by hand before the extrinsics execute; if it raises, there is no block.
        """
        number, parent_hash = self._head.number + 1, self._head.hash
        layer = Overlay(self._state)
        ledger = Ledger(self.runtime, layer)
        if change is not None:
            change(ledger)
        timestamp_ms = max(self._environment.now_ms(), self._head.timestamp_ms + 1)
        executor = BlockExecutor(self.runtime, self._shield, ledger, number, self.hash_at)
        waiting = self.pool.take_all()
        body = executor.execute(parent_hash, timestamp_ms, waiting)
        changes = layer.effective_changes()
        block = Block(
            number,
            parent_hash,
            _next_state_root(self._head.state_root, changes),
            self._environment.random_bytes(SEAL_BYTES),
            tuple(body.extrinsics),
            timestamp_ms,
        )
        self._commit(block, changes)
        refused = {extrinsic.hash for extrinsic in body.refused}
        included = tuple(extrinsic for extrinsic in waiting if extrinsic.hash not in refused)
        return ProducedBlock(block, included, tuple(body.refused))

    def _commit(self, block: Block, changes: Changes) -> None:
        oldest_undo = block.number - KEPT_STATES_BLOCKS + 1
        undo = {key: self._state.read(key) for key in changes}
        self._store.append(block, changes, undo, oldest_undo)
        self._state.apply(changes)
        self._undo[block.number] = undo
        self._undo.pop(oldest_undo - 1, None)
        self._head = block


def _begin(runtime: Runtime, store: BlockStore, genesis: Genesis, environment: Environment) -> None:
    seed = environment.random_bytes(SEED_BYTES)
    layer = Overlay(CommittedState({}))
    ledger = Ledger(runtime, layer)
    write_genesis(ledger, genesis, Shield(seed).public_key)
    now_ms = environment.now_ms()
    ledger.put("Timestamp.Now", now_ms)
    digest = blake2_256(runtime.metadata)
    root = _next_state_root(digest, layer.changes)
    block = Block(0, NO_PARENT, root, environment.random_bytes(SEAL_BYTES), (), now_ms)
    facts: Mapping[str, bytes] = {_METADATA_DIGEST: digest, _SHIELD_SEED: seed}
    store.begin(facts, block, layer.changes)


def _next_state_root(previous: bytes, changes: Changes) -> bytes:
    return blake2_256(previous + encode_changes(dict(sorted(changes.items()))))
