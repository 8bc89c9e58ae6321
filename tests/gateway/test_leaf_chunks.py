"""Proofs from runs of leaves are those of the whole tree."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from gateway.leaf_chunks import CHUNK_LEAVES, ROOTS, chunks_to_keep, path_in_chunks
from shared.merkle import MerkleTree


def leaves(count: int) -> list[bytes]:
    return [hashlib.sha256(str(number).encode()).digest() for number in range(count)]


@given(size=st.integers(1, 5 * CHUNK_LEAVES + 3), data=st.data())
def test_a_path_from_runs_is_the_path_in_the_tree(size: int, data: st.DataObject) -> None:
    hashes, index = leaves(size), data.draw(st.integers(0, size - 1))
    tree, kept = MerkleTree.of_hashes(hashes), chunks_to_keep(hashes, [index])
    assert path_in_chunks(index, kept[index // CHUNK_LEAVES], kept[ROOTS]) == tree.path(index)


def test_only_runs_with_wanted_leaves_are_kept() -> None:
    kept = chunks_to_keep(leaves(5 * CHUNK_LEAVES), [0, 1, 3 * CHUNK_LEAVES])
    assert set(kept) == {0, 3, ROOTS}
    assert len(kept[ROOTS]) == 5 * 32


def test_of_an_epoch_without_own_requests_nothing_is_kept() -> None:
    assert chunks_to_keep(leaves(CHUNK_LEAVES), []) == {}
