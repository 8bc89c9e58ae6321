"""The leaf hashes of an epoch as runs, so that a proof needs one run and the roots of all.

RFC 9162 splits a tree at the largest power of two below its size, so a run of 256 leaves that begins at a
multiple of 256 is a whole subtree, and so is the shorter run at the end.
"""

from collections.abc import Collection, Sequence

from shared.merkle import HASH_BYTES, MerkleTree

CHUNK_LEAVES = 256
"""A proof then costs two small trees, some 0.5 ms for 100,000 records; all runs are 32 bytes a record."""

ROOTS = -1
"""Under which the roots of all runs are kept."""


def chunks_to_keep(leaves: Sequence[bytes], wanted: Collection[int]) -> dict[int, bytes]:
    """The runs that hold the leaves of the indices `wanted`, and the roots of all runs."""
    if not wanted:
        return {}
    starts = range(0, len(leaves), CHUNK_LEAVES)
    runs = [leaves[start : start + CHUNK_LEAVES] for start in starts]
    kept = {number: b"".join(runs[number]) for number in {index // CHUNK_LEAVES for index in wanted}}
    return kept | {ROOTS: b"".join(MerkleTree.of_hashes(run).root for run in runs)}


def split(hashes: bytes) -> list[bytes]:
    """Hashes that were joined."""
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def path_in_chunks(index: int, chunk: bytes, roots: bytes) -> list[bytes]:
    """The path of the leaf `index` to the root of the whole tree.

    Args:
        chunk: the run that holds it.
        roots: of all runs.
    """
    inner, outer = MerkleTree.of_hashes(split(chunk)), MerkleTree.of_hashes(split(roots))
    return inner.path(index % CHUNK_LEAVES) + outer.path(index // CHUNK_LEAVES)
