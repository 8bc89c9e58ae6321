"""Merkle trees over opaque leaves, as in RFC 9162 section 2.1 (SHA-256, domain-separated)."""

import hashlib
from collections.abc import Sequence

_LEAF = b"\x00"
_NODE = b"\x01"
HASH_BYTES = 32


def leaf_hash(leaf: bytes) -> bytes:
    """Hash of one leaf."""
    return hashlib.sha256(_LEAF + leaf).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


class MerkleTree:
    """All levels of the tree over `leaves`, so that a path costs one look-up a level.

    Memory: 64 bytes a leaf, besides the leaves themselves, which are not kept.
    """

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._build([leaf_hash(leaf) for leaf in leaves])

    @classmethod
    def of_hashes(cls, hashes: Sequence[bytes]) -> "MerkleTree":
        """The tree over leaves whose hashes are known."""
        tree = cls.__new__(cls)
        tree._build(list(hashes))
        return tree

    def _build(self, level: list[bytes]) -> None:
        self._levels = [level]
        while len(level) > 1:
            pairs = [_node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
            level = pairs + level[len(pairs) * 2 :]
            self._levels.append(level)

    @property
    def size(self) -> int:
        """Number of leaves."""
        return len(self._levels[0])

    @property
    def root(self) -> bytes:
        """32 bytes; the hash of the empty string for a tree without leaves (RFC 9162)."""
        return self._levels[-1][0] if self.size else hashlib.sha256(b"").digest()

    def path(self, index: int) -> list[bytes]:
        """Sibling hashes from the leaf at `index` up to the root.

        Raises:
            IndexError: there is no such leaf.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"leaf {index} of a tree of {self.size}")
        path = []
        for level in self._levels[:-1]:
            sibling = index ^ 1
            if sibling < len(level):
                path.append(level[sibling])
            index //= 2
        return path


def path_leads_to_root(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that `leaf` is leaf number `index` of the tree of `size` leaves with `root`.

    RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    node, last, current = index, size - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            return False
        if node % 2 == 1 or node == last:
            current = _node_hash(sibling, current)
            while node % 2 == 0 and node != 0:
                node, last = node // 2, last // 2
        else:
            current = _node_hash(current, sibling)
        node, last = node // 2, last // 2
    return last == 0 and current == root
