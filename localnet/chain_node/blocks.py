"""Blocks: the header, its hash, and the signed-by-nobody timestamp that opens every body."""

from dataclasses import dataclass
from typing import Any

from localnet.chain_node.runtime import HASH_BYTES, blake2_256
from localnet.chain_node.scale_encoding import compact, sized, vector
from localnet.chain_node.wire_values import to_hex

SEAL_BYTES = 64
"""Of randomness in every header, where a real chain has the author's signature."""

_ENGINE = b"aura"
_SEAL_DIGEST = 5
NO_PARENT = bytes(HASH_BYTES)


@dataclass(frozen=True)
class Block:
    """One block.

    `state_root` is a digest chained over all changes so far, not the root of a Merkle trie: there are no
    storage proofs here. `seal` makes the hash unpredictable until the block exists.
    """

    number: int
    parent_hash: bytes
    state_root: bytes
    seal: bytes
    extrinsics: tuple[bytes, ...]
    timestamp_ms: int

    @property
    def hash(self) -> bytes:
        """Blake2b-256 of the encoded header, as on every Substrate chain."""
        return blake2_256(
            self.parent_hash
            + compact(self.number)
            + self.state_root
            + self._extrinsics_root
            + vector([self._seal_log])
        )

    def header_json(self) -> dict[str, Any]:
        return {
            "parentHash": to_hex(self.parent_hash),
            "number": hex(self.number),
            "stateRoot": to_hex(self.state_root),
            "extrinsicsRoot": to_hex(self._extrinsics_root),
            "digest": {"logs": [to_hex(self._seal_log)]},
        }

    def json(self) -> dict[str, Any]:
        """What `chain_getBlock` answers."""
        extrinsics = [to_hex(extrinsic) for extrinsic in self.extrinsics]
        return {"block": {"header": self.header_json(), "extrinsics": extrinsics}, "justifications": None}

    @property
    def _extrinsics_root(self) -> bytes:
        return blake2_256(vector(sized(extrinsic) for extrinsic in self.extrinsics))

    @property
    def _seal_log(self) -> bytes:
        return bytes([_SEAL_DIGEST]) + _ENGINE + sized(self.seal)
