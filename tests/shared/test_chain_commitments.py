"""Commitments and old blocks through the real SDK, over a real websocket, from a development node."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import bittensor as bt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.chain_node.chain import KEPT_STATES_BLOCKS
from localnet.chain_node.config import NodeConfig
from shared.chain import BLOCKS_AT_ONCE, SubtensorChain
from shared.chain_blocks import inherent_call
from shared.chain_commitments import MAX_COMMITMENT_BYTES, commitments_of
from shared.errors import ChainError
from tests.localnet.chain_node.running_node import NETUID, RunningNode


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    made = []
    for name in ("one", "other", "stranger"):
        wallet = bt.Wallet(name, "default", path=str(tmp_path_factory.mktemp("wallets")))
        wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(use_password=False, suppress=True)
        made.append(wallet)
    return made


@pytest.fixture
async def node(wallets: list[Any]) -> AsyncIterator[RunningNode]:
    with RunningNode(NodeConfig(port=0, block_seconds=0)) as running:
        for wallet in wallets[:2]:
            await asyncio.to_thread(running.register, wallet)
        yield running


@pytest.mark.parametrize("data", [b"root", b"0x6869", bytes(128), b"\xff\x00", b""])
async def test_a_commitment_is_read_as_the_bytes_that_were_published(
    node: RunningNode, wallets: list[Any], data: bytes
) -> None:
    chain = SubtensorChain(node.url, NETUID, wallets[0])
    await chain.set_commitment(data)
    assert await chain.commitments() == {wallets[0].hotkey.ss58_address: data}
    await chain.close()


async def test_the_newest_commitment_of_each_hotkey_counts(node: RunningNode, wallets: list[Any]) -> None:
    one, other = (SubtensorChain(node.url, NETUID, wallet) for wallet in wallets[:2])
    await one.set_commitment(b"first")
    await other.set_commitment(b"of the other")
    await one.set_commitment(b"second")
    assert await one.commitments() == {
        wallets[0].hotkey.ss58_address: b"second",
        wallets[1].hotkey.ss58_address: b"of the other",
    }
    await one.close()
    await other.close()


async def test_commitments_of_other_kinds_are_left_out(node: RunningNode, wallets: list[Any]) -> None:
    chain = SubtensorChain(node.url, NETUID, wallets[0])
    await chain.set_commitment(b"raw")
    async with bt.Client(node.url, fallback_endpoints=[], archive_endpoints=[]) as client:
        for fields in (
            [{"Sha256": list(bytes(32))}],
            [{"Raw1": [1]}, {"Raw1": [2]}],
            [{"BigRaw": [1, 2, 3]}],
        ):
            call = bt.calls.Commitments.set_commitment(netuid=NETUID, info={"fields": fields})
            assert (await client.submit_call(call, wallets[1], signer="hotkey")).success
            assert await chain.commitments() == {wallets[0].hotkey.ss58_address: b"raw"}
    await chain.close()


async def test_too_long_a_commitment_is_refused_before_it_is_sent(
    node: RunningNode, wallets: list[Any]
) -> None:
    chain = SubtensorChain(node.url, NETUID, wallets[0])
    with pytest.raises(ValueError, match="128 bytes at most, not 129"):
        await chain.set_commitment(bytes(MAX_COMMITMENT_BYTES + 1))
    assert await chain.commitments() == {}
    await chain.close()


async def test_an_unregistered_hotkey_may_not_commit(node: RunningNode, wallets: list[Any]) -> None:
    chain = SubtensorChain(node.url, NETUID, wallets[2])
    with pytest.raises(ChainError) as refused:
        await chain.set_commitment(b"root")
    assert refused.value.code == "AccountNotAllowedCommit"
    await chain.close()


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_records_of_any_shape_are_left_out_and_harm_nothing(record: Any) -> None:
    for hostile in (record, {"info": record}, {"info": {"fields": record}}, {"info": {"fields": [record]}}):
        assert commitments_of([("hotkey", hostile)]) == {}


@pytest.mark.parametrize(
    "field",
    [
        {"Raw2": "0x61"},
        {"Raw2": "6162"},
        {"Raw2": "0xzz"},
        {"Raw2": None},
        {"Raw2": [1, 999]},
        {"Rawx": "0x"},
    ],
)
def test_a_field_whose_bytes_are_not_what_it_says_is_left_out(field: Any) -> None:
    assert commitments_of([("hotkey", {"info": {"fields": [field]}})]) == {}


async def test_the_blocks_of_an_epoch_are_read_together_also_those_whose_state_is_discarded(
    node: RunningNode,
) -> None:
    for _ in range(6):
        node.clock.now_ms += 12_000
        await asyncio.to_thread(node.blocks, 100)
    chain = SubtensorChain(node.url, NETUID)
    head = await chain.head()
    assert head.number > KEPT_STATES_BLOCKS
    numbers = [*range(1, 10), *range(head.number - 116, head.number + 1)]
    found = await chain.blocks([*numbers, head.number])
    assert sorted(found) == numbers
    assert found[head.number] == head
    assert found[1].timestamp_ms < found[9].timestamp_ms < head.timestamp_ms
    assert found[5] == await chain.block(5)
    kept = node.inside(lambda: node.node.chain.block(bytes.fromhex(found[7].hash[2:])))
    assert kept is not None
    assert (kept.number, kept.timestamp_ms) == (7, found[7].timestamp_ms)
    await chain.close()


async def test_one_block_that_does_not_exist_fails_all_that_were_asked_for(node: RunningNode) -> None:
    chain = SubtensorChain(node.url, NETUID)
    with pytest.raises(ChainError, match="no block at height 5000"):
        await chain.blocks([*range(1, 3), *range(5_000, 5_000 + 2 * BLOCKS_AT_ONCE)])
    assert await chain.blocks([]) == {}
    await chain.close()


@pytest.mark.parametrize("extrinsic", [b"", b"\x04", b"\x28\x04", b"\x01", b"\x03\x00\x00\x00\x00\x00\x00"])
def test_a_cut_extrinsic_has_no_call(extrinsic: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        inherent_call(extrinsic)


@pytest.mark.parametrize("length", [b"\x28", b"\x29\x00", b"\x2a\x00\x00\x00"])
def test_the_call_follows_length_and_version(length: bytes) -> None:
    assert inherent_call(length + b"\x04" + b"call") == b"call"
