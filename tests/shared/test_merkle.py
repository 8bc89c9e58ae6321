import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.merkle import MerkleTree, leaf_hash, path_leads_to_root

leaves_strategy = st.lists(st.binary(max_size=40), min_size=1, max_size=70)


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_root_of_three_leaves_is_the_one_that_rfc_9162_defines() -> None:
    a, b, c = (leaf_hash(leaf) for leaf in (b"a", b"b", b"c"))
    assert MerkleTree([b"a", b"b", b"c"]).root == node(node(a, b), c)


def test_root_of_no_leaves_is_the_hash_of_nothing() -> None:
    assert MerkleTree([]).root == hashlib.sha256(b"").digest()


@given(leaves_strategy, st.data())
def test_every_path_leads_to_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    tree = MerkleTree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    assert path_leads_to_root(leaves[index], index, len(leaves), tree.path(index), tree.root)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=40, unique=True), st.data())
def test_a_path_proves_nothing_about_another_place(leaves: list[bytes], data: st.DataObject) -> None:
    tree = MerkleTree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.integers(-1, len(leaves)).filter(lambda n: n != index))
    assert not path_leads_to_root(leaves[index], other, len(leaves), tree.path(index), tree.root)


@given(leaves_strategy, st.data())
def test_a_changed_leaf_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    tree = MerkleTree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    changed = leaves[index] + b"!"
    assert not path_leads_to_root(changed, index, len(leaves), tree.path(index), tree.root)


@given(st.lists(st.binary(max_size=8), min_size=2, max_size=40), st.data())
def test_a_cut_or_lengthened_path_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    tree = MerkleTree(leaves)
    index = data.draw(st.integers(0, len(leaves) - 1))
    path = tree.path(index)
    for wrong in (path[:-1], [*path, path[-1]], path[1:]):
        assert not path_leads_to_root(leaves[index], index, len(leaves), wrong, tree.root)


@given(leaves_strategy)
def test_a_tree_of_leaf_hashes_is_the_tree_of_the_leaves(leaves: list[bytes]) -> None:
    tree, hashed = MerkleTree(leaves), MerkleTree.of_hashes([leaf_hash(leaf) for leaf in leaves])
    assert hashed.root == tree.root
    assert [hashed.path(index) for index in range(hashed.size)] == [
        tree.path(index) for index in range(tree.size)
    ]
    if len(leaves) > 1:
        assert MerkleTree.of_hashes(leaves).root != tree.root


def test_an_inner_node_is_no_leaf() -> None:
    tree = MerkleTree([b"a", b"b"])
    inner = leaf_hash(b"a") + leaf_hash(b"b")
    assert not path_leads_to_root(inner, 0, 1, [], tree.root)


@pytest.mark.parametrize("index", [-1, 3])
def test_a_path_of_a_leaf_that_is_not_there_is_an_error(index: int) -> None:
    with pytest.raises(IndexError):
        MerkleTree([b"a", b"b", b"c"]).path(index)


@given(leaves_strategy)
def test_hashes_of_leaves_lead_to_the_same_root(leaves: list[bytes]) -> None:
    assert MerkleTree.of_hashes([leaf_hash(leaf) for leaf in leaves]).root == MerkleTree(leaves).root
