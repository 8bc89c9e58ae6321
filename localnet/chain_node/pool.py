"""The transaction pool: valid extrinsics that wait for the next block."""

from collections.abc import Mapping

from localnet.chain_node.extrinsics import SignedExtrinsic, TransactionError

MAX_TRANSACTIONS = 1_000
MAX_EXTRINSIC_BYTES = 64 * 1024
"""The largest call of the SDK, a shielded extrinsic, is 8 KiB."""


class TransactionPool:
    """Holds extrinsics in the order they came."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, SignedExtrinsic] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> Mapping[bytes, SignedExtrinsic]:
        """Waiting extrinsics by hash."""
        return self._waiting

    def pending_count(self, signer: str) -> int:
        """How many extrinsics of one signer wait."""
        return sum(1 for extrinsic in self._waiting.values() if extrinsic.signer == signer)

    def ensure_room(self, extrinsic: SignedExtrinsic) -> None:
        """Refuses what the pool cannot take, before any costly check.

        Raises:
            TransactionError: it is here already, its nonce is taken, it is too large, or the pool is full.
        """
        if extrinsic.hash in self._waiting:
            raise TransactionError(1013, "Transaction is already imported", "Transaction already imported")
        if any((e.signer, e.nonce) == (extrinsic.signer, extrinsic.nonce) for e in self._waiting.values()):
            raise TransactionError(
                1014,
                "Priority is too low: (0 vs 0)",
                "The transaction has too low priority to replace another transaction already in the pool.",
            )
        if len(extrinsic.raw) > MAX_EXTRINSIC_BYTES:
            raise TransactionError(1010, "Invalid Transaction", "Transaction would exhaust the block limits")
        if len(self._waiting) >= MAX_TRANSACTIONS:
            raise TransactionError(
                1016,
                "Immediately Dropped",
                "The transaction couldn't enter the pool because of the limit",
            )

    def add(self, extrinsic: SignedExtrinsic) -> None:
        self._waiting[extrinsic.hash] = extrinsic

    def take_all(self) -> list[SignedExtrinsic]:
        """Empties the pool."""
        extrinsics = list(self._waiting.values())
        self._waiting.clear()
        return extrinsics
