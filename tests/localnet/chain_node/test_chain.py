from pathlib import Path

import pytest
from bittensor.sp_core import Keypair
from hypothesis import given, settings
from hypothesis import strategies as st

from localnet.chain_node import accounts
from localnet.chain_node.block_store import FILE_NAME, BlockStore, StateDirectoryError
from localnet.chain_node.chain import (
    KEPT_STATES_BLOCKS,
    Chain,
    StateDiscardedError,
    UnknownBlockError,
)
from localnet.chain_node.extrinsics import TransactionError
from localnet.chain_node.ledger import Ledger, LedgerReader
from localnet.chain_node.metadata import all_pallets
from localnet.chain_node.pool import MAX_EXTRINSIC_BYTES, MAX_TRANSACTIONS
from tests.localnet.chain_node.memory_chain import (
    CountingBytes,
    disk_chain,
    fund,
    memory_chain,
    number_at,
    open_chain,
)
from tests.localnet.chain_node.running_node import ManualClock
from tests.localnet.chain_node.signing import Signer

ALICE = Keypair.create_from_uri("//Alice")


def refused(chain: Chain, raw: bytes) -> TransactionError:
    with pytest.raises(TransactionError) as caught:
        chain.submit(raw)
    return caught.value


def test_every_block_names_its_parent_and_is_found_by_number_and_hash() -> None:
    chain = memory_chain()
    for number in range(1, 20):
        parent_hash = chain.head.hash
        block = chain.produce().block
        assert (block.number, block.parent_hash) == (number, parent_hash)
        assert chain.hash_at(number) == block.hash
        assert chain.block(block.hash) == block
    assert chain.hash_at(20) is None


def test_a_fresh_chain_has_a_genesis_hash_of_its_own() -> None:
    source = CountingBytes()
    chains = [open_chain(BlockStore.open(None), random_bytes=source) for _ in range(3)]
    assert len({chain.head.hash for chain in chains}) == 3


def test_the_genesis_hash_depends_on_the_metadata() -> None:
    hashes = {open_chain(BlockStore.open(None), slot_duration_ms=ms).head.hash for ms in (1_000, 12_000)}
    assert len(hashes) == 2
    same = {open_chain(BlockStore.open(None), slot_duration_ms=1_000).head.hash for _ in range(2)}
    assert len(same) == 1


def test_the_next_hash_follows_from_randomness_and_not_only_from_the_past() -> None:
    """Two chains with the same past and the same clock go apart with their random bytes."""
    sources = [CountingBytes(), CountingBytes()]
    twins = [open_chain(BlockStore.open(None), random_bytes=source) for source in sources]
    assert twins[0].head.hash == twins[1].head.hash
    sources[0](1)
    assert twins[0].produce().block.hash != twins[1].produce().block.hash


def test_a_block_s_time_is_the_clock_s_and_always_later_than_its_parent_s() -> None:
    clock = ManualClock()
    chain = memory_chain(clock)
    began_ms = clock.now_ms
    assert chain.current.get("Timestamp.Now") == began_ms
    clock.now_ms += 5_000
    assert chain.produce().block.timestamp_ms == began_ms + 5_000
    clock.now_ms -= 60_000
    assert chain.produce().block.timestamp_ms == began_ms + 5_001
    assert chain.current.get("Timestamp.Now") == began_ms + 5_001


def test_state_and_time_are_readable_at_every_kept_block_and_no_further() -> None:
    chain = memory_chain()
    for _ in range(KEPT_STATES_BLOCKS + 20):
        chain.produce()
    oldest = chain.head.number - KEPT_STATES_BLOCKS
    for number in (chain.head.number, chain.head.number - 1, oldest + 1, oldest):
        block_hash = chain.hash_at(number)
        assert number_at(chain, block_hash) == number
        reader = LedgerReader(chain.runtime, chain.state_at(block_hash))
        block = chain.block(block_hash or b"")
        assert block is not None
        assert reader.get("Timestamp.Now") == block.timestamp_ms
    with pytest.raises(StateDiscardedError):
        chain.state_at(chain.hash_at(oldest - 1))
    with pytest.raises(UnknownBlockError):
        chain.state_at(bytes(32))
    assert chain.block(chain.hash_at(3) or b"") is not None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([b"a", b"b", b"ab"]), st.none() | st.binary(max_size=2))))
def test_the_past_is_what_it_was(blocks: list[dict[bytes, bytes | None]]) -> None:
    chain = memory_chain()
    history: list[dict[bytes, bytes | None]] = []
    values: dict[bytes, bytes | None] = {}
    for changes in blocks:

        def write(ledger: Ledger, changes: dict[bytes, bytes | None] = changes) -> None:
            for key, value in changes.items():
                ledger.layer.write(key, value)

        chain.produce(write)
        values = {**values, **changes}
        history.append(values)
    for number, expected in enumerate(history, start=1):
        state = chain.state_at(chain.hash_at(number))
        assert {key: state.read(key) for key in expected} == expected


def test_a_change_by_hand_that_fails_makes_no_block() -> None:
    chain = memory_chain()
    head = chain.head

    def change(ledger: Ledger) -> None:
        ledger.put("System.Number", 77)
        raise KeyError("no such thing")

    with pytest.raises(KeyError):
        chain.produce(change)
    assert chain.head == head
    assert chain.current.get("System.Number") == 0


def test_a_chain_goes_on_where_it_was(tmp_path: Path) -> None:
    chain, store = disk_chain(tmp_path)
    fund(chain, ALICE.ss58_address, 5_000)
    for _ in range(30):
        chain.produce()
    head, old_hash = chain.head, chain.hash_at(10)
    store.close()
    again, store = disk_chain(tmp_path)
    assert again.head == head
    assert accounts.free_balance_rao(again.current, ALICE.ss58_address) == 5_000
    assert number_at(again, old_hash) == 10
    assert again.produce().block.parent_hash == head.hash
    store.close()


def test_history_is_as_deep_after_a_restart_as_before(tmp_path: Path) -> None:
    chain, store = disk_chain(tmp_path)
    for _ in range(KEPT_STATES_BLOCKS + 5):
        chain.produce()
    store.close()
    again, store = disk_chain(tmp_path)
    assert number_at(again, again.hash_at(5)) == 5
    with pytest.raises(StateDiscardedError):
        again.state_at(again.hash_at(4))
    store.close()


def test_a_state_directory_made_with_another_block_time_is_refused(tmp_path: Path) -> None:
    _, store = disk_chain(tmp_path)
    store.close()
    store = BlockStore.open(tmp_path)
    with pytest.raises(StateDirectoryError, match="--block-seconds"):
        open_chain(store, slot_duration_ms=12_000)
    store.close()


def test_two_nodes_cannot_share_a_state_directory(tmp_path: Path) -> None:
    _, store = disk_chain(tmp_path)
    with pytest.raises(StateDirectoryError, match="another node"):
        BlockStore.open(tmp_path)
    store.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database, however one looks at it" * 100)
    with pytest.raises(StateDirectoryError, match="cannot use the state directory"):
        BlockStore.open(tmp_path)


def test_a_state_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirectoryError, match="cannot use the state directory"):
        BlockStore.open(tmp_path / "file" / "below")


def test_a_replayed_extrinsic_is_refused() -> None:
    chain = memory_chain()
    raw = Signer.of(chain, ALICE).remark()
    chain.submit(raw)
    assert refused(chain, raw).code == 1013
    assert raw in chain.produce().block.extrinsics
    assert refused(chain, raw).data == "Transaction is outdated"
    assert chain.produce().included == ()


def test_a_second_extrinsic_with_the_same_nonce_is_refused() -> None:
    chain = memory_chain()
    signer = Signer.of(chain, ALICE)
    chain.submit(signer.remark(b"one"))
    error = refused(chain, signer.remark(b"two"))
    assert (error.code, error.message) == (1014, "Priority is too low: (0 vs 0)")


def test_extrinsics_of_one_signer_are_pipelined_in_order() -> None:
    chain = memory_chain()
    signer = Signer.of(chain, ALICE)
    raws = [signer.remark(bytes([n]), nonce=n) for n in range(5)]
    assert refused(chain, raws[1]).data == "Transaction will be valid in the future"
    for nonce, raw in enumerate(raws):
        assert chain.next_nonce(ALICE.ss58_address) == nonce
        chain.submit(raw)
    assert list(chain.produce().block.extrinsics[1:]) == raws
    assert chain.next_nonce(ALICE.ss58_address) == 5


def test_an_era_is_over_after_its_last_block() -> None:
    chain = memory_chain()
    signer = Signer.of(chain, ALICE)
    raw = signer.remark(era={"period": 4, "current": 0}, era_block_hash=chain.hash_at(0))
    for _ in range(3):
        chain.produce()
    assert refused(chain, raw).data == "Transaction has an ancient birth block"
    chain.produce()
    assert refused(chain, raw).data == "Transaction has a bad signature"


def test_an_extrinsic_is_taken_in_the_last_block_of_its_era() -> None:
    chain = memory_chain()
    raw = Signer.of(chain, ALICE).remark(era={"period": 4, "current": 0}, era_block_hash=chain.hash_at(0))
    for _ in range(2):
        chain.produce()
    chain.submit(raw)
    assert raw in chain.produce().block.extrinsics


def test_an_author_s_call_cannot_be_signed() -> None:
    chain = memory_chain()
    error = refused(chain, Signer.of(chain, ALICE).sign("Timestamp", "set", {"now": 1}))
    assert error.code == 1001


CALL_INDEXES = st.sampled_from(
    [bytes([pallet.index, call.index]) for pallet in all_pallets(1_000) for call in pallet.calls]
)


FUZZED = memory_chain()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120) | st.builds(bytes.__add__, CALL_INDEXES, st.binary(max_size=120)))
def test_any_bytes_as_a_call_are_refused_or_make_a_block(call: bytes) -> None:
    nonce = FUZZED.next_nonce(ALICE.ss58_address)
    raw = Signer.of(FUZZED, ALICE).sign_bytes(call, nonce=nonce)
    try:
        FUZZED.submit(raw)
    except TransactionError as error:
        refusal = error
    else:
        assert raw in FUZZED.produce().block.extrinsics
        return
    assert refusal.code == 1001
    assert FUZZED.next_nonce(ALICE.ss58_address) == nonce


def test_the_pool_takes_neither_too_large_nor_too_many_extrinsics() -> None:
    chain = memory_chain()
    signer = Signer.of(chain, ALICE)
    assert "limits" in refused(chain, signer.remark(bytes(MAX_EXTRINSIC_BYTES))).data
    for nonce in range(MAX_TRANSACTIONS):
        chain.submit(signer.remark(nonce=nonce))
    assert refused(chain, signer.remark(nonce=MAX_TRANSACTIONS)).code == 1016
    assert len(chain.produce().included) == MAX_TRANSACTIONS
    chain.submit(signer.remark(nonce=MAX_TRANSACTIONS))
