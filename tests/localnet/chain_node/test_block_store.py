from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localnet.chain_node.block_store import BlockStore, encode_changes
from localnet.chain_node.blocks import NO_PARENT, Block
from localnet.chain_node.state import Changes

HASHES = st.binary(min_size=32, max_size=32)
CHANGES = st.dictionaries(st.binary(max_size=4), st.none() | st.binary(max_size=4), max_size=6)
BODIES = st.lists(st.binary(max_size=40), max_size=4).map(tuple)
TIMES_MS = st.integers(0, 2**62)


def genesis() -> Block:
    return Block(0, NO_PARENT, bytes(32), bytes(64), (), 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(HASHES, st.binary(min_size=64, max_size=64), BODIES, TIMES_MS, CHANGES), max_size=6)
)
def test_blocks_state_and_undo_data_come_back_as_they_were(
    rows: list[tuple[bytes, bytes, tuple[bytes, ...], int, dict[bytes, bytes | None]]],
) -> None:
    store, parent = BlockStore.open(None), genesis()
    store.begin({"fact": b"value"}, parent, {b"k": b"v"})
    state, written, undos = {b"k": b"v"}, [parent], {}
    for root, seal, body, time_ms, changes in rows:
        parent = Block(parent.number + 1, parent.hash, root, seal, body, time_ms)
        undo: Changes = {key: state.get(key) for key in changes}
        store.append(parent, changes, undo, oldest_undo=0)
        state = {key: value for key, value in {**state, **changes}.items() if value is not None}
        undos[parent.number] = undo
        written.append(parent)
    assert store.state() == state
    assert store.undo_changes() == undos
    assert store.newest() == written[-1]
    assert [store.block(block.hash) for block in written] == written
    assert [store.hash_at(number) for number in range(len(written))] == [block.hash for block in written]
    assert store.fact("fact") == b"value"
    store.close()


def test_what_was_never_written_is_none() -> None:
    store = BlockStore.open(None)
    assert (store.newest(), store.hash_at(0), store.block(bytes(32)), store.fact("x")) == (None,) * 4
    store.close()


def test_undo_data_is_forgotten_in_time() -> None:
    store, parent = BlockStore.open(None), genesis()
    store.begin({}, parent, {})
    for number in range(1, 10):
        parent = Block(number, parent.hash, bytes(32), bytes(64), (), number)
        store.append(parent, {}, {b"n": bytes([number])}, oldest_undo=number - 2)
    assert list(store.undo_changes()) == [7, 8, 9]
    store.close()


def test_a_block_that_cannot_be_written_whole_is_not_written_at_all(tmp_path: Path) -> None:
    store = BlockStore.open(tmp_path)
    store.begin({}, genesis(), {b"k": b"old"})
    same_number_again = Block(0, NO_PARENT, bytes(32), bytes(64), (b"another",), 1)
    with pytest.raises(Exception, match="UNIQUE"):
        store.append(same_number_again, {b"k": b"new"}, {}, oldest_undo=0)
    assert store.state() == {b"k": b"old"}
    store.close()
    again = BlockStore.open(tmp_path)
    assert again.state() == {b"k": b"old"}
    assert again.newest() == genesis()
    again.close()


@given(CHANGES, CHANGES)
def test_different_changes_are_different_bytes(
    first: dict[bytes, bytes | None], second: dict[bytes, bytes | None]
) -> None:
    assert (encode_changes(first) == encode_changes(second)) == (list(first.items()) == list(second.items()))


@given(HASHES, HASHES, BODIES, BODIES)
def test_a_hash_depends_on_parent_seal_and_body(
    parent: bytes, other: bytes, body: tuple[bytes, ...], other_body: tuple[bytes, ...]
) -> None:
    block = Block(7, parent, bytes(32), bytes(64), body, 1)
    assert (Block(7, other, bytes(32), bytes(64), body, 1).hash == block.hash) == (parent == other)
    assert (Block(7, parent, bytes(32), bytes(64), other_body, 1).hash == block.hash) == (body == other_body)
    assert Block(7, parent, bytes(32), b"\1" * 64, body, 1).hash != block.hash
    assert Block(8, parent, bytes(32), bytes(64), body, 1).hash != block.hash
