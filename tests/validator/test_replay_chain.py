"""Epochs held against the chain: blocks, anchor, weights, and who published."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shared.anchors import Anchor
from shared.canonical import sha256_hex
from shared.chain import Block
from tests.validator.auditor_examples import AUDITOR, block_number
from tests.validator.replayed import Replayed, replayed
from validator.epoch_summary import summary_key


@pytest.fixture
def epochs(tmp_path: Path) -> Replayed:
    return replayed(tmp_path)


def with_blocks(epochs: Replayed, change: Callable[[Block], Block]) -> None:
    async def block(number: int) -> Block:
        return change(block_number(number))

    epochs.chain.block = block  # type: ignore[method-assign]


def test_blocks_that_the_chain_does_not_have_are_named(epochs: Replayed) -> None:
    with_blocks(epochs, lambda one: Block(one.number, "0x" + "00" * 32, one.timestamp_ms))
    assert epochs.failing() == {"blocks"}


def test_a_block_that_was_skipped_is_named(epochs: Replayed) -> None:
    listed = {one.number for one in epochs.resealed().summary().challenge_blocks}
    later = {number - 1 for number in listed}
    with_blocks(
        epochs,
        lambda one: Block(one.number, one.hash, one.timestamp_ms + 11_999 * (one.number in later)),
    )
    faults = dict(epochs.faults("latest"))
    assert "came after it already" in faults["blocks"]


def test_weights_on_chain_that_differ_are_named(epochs: Replayed) -> None:
    (uid,) = epochs.chain.on_chain
    row = epochs.chain.on_chain[uid]
    first = min(row)
    epochs.chain.on_chain[uid] = row | {first: row[first] - 1}
    faults = dict(epochs.faults())
    assert f"{row[first] - 1} for uid {first} on chain, epoch 3 gives {row[first]}" in faults["chain weights"]
    epochs.chain.on_chain.clear()
    assert "no weights on chain" in dict(epochs.faults())["chain weights"]


def test_the_weights_of_the_epoch_before_are_still_to_be_replaced(epochs: Replayed) -> None:
    before = {one.uid: one.weight for one in epochs.resealed(2).summary().weights}
    publisher = epochs.resealed(3)
    newest = {one.uid: one.weight for one in publisher.summary().weights}
    assert before == newest, "so that only the words can tell"
    report = epochs.replay()
    assert "of epoch 3" in next(one.words for one in report.results if one.name == "chain weights")


def test_the_anchor_may_be_one_epoch_behind_and_no_more(epochs: Replayed) -> None:
    def anchored(epoch: int) -> None:
        digest = sha256_hex(epochs.store.get(summary_key(epoch)))
        root = epochs.resealed(epoch).summary().records_root
        asyncio.run(epochs.chain.set_commitment(Anchor(epoch, root, digest).encode()))

    anchored(2)
    assert epochs.failing() == set()
    anchored(1)
    assert epochs.failing() == {"anchor"}


@pytest.mark.parametrize("data", [None, b"hello", Anchor(9, "00" * 32, "11" * 32).encode()])
def test_no_anchor_or_another_is_named(epochs: Replayed, data: bytes | None) -> None:
    epochs.chain.committed = {} if data is None else {AUDITOR.ss58_address: data}
    assert epochs.failing() == {"anchor"}


def test_a_publisher_without_a_permit_is_named(epochs: Replayed) -> None:
    place, own = next(
        (place, one)
        for place, one in enumerate(epochs.chain.registered)
        if one.hotkey == AUDITOR.ss58_address
    )
    epochs.chain.registered[place] = replace(own, validator_permit=False)
    assert epochs.failing(publisher=None) == {"signature"}


def test_a_chain_that_cannot_be_reached_leaves_its_checks_open(epochs: Replayed) -> None:
    epochs.chain.down = True
    report = epochs.replay()
    assert report.sound
    told = {one.name: one.words for one in report.results if one.state == "unchecked"}
    assert "can't be reached" in told["anchor"]
