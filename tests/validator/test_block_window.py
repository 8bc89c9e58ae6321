import pytest

from shared.errors import ChainUnavailable
from tests.validator.auditor_examples import BLOCK_MS, START_MS, ExampleChain, block_number
from validator.block_window import KEPT_BLOCKS, MAX_LOOKBACK_BLOCKS, BlockWindow, TooOld


async def test_the_first_block_after_the_answer_is_found() -> None:
    chain = ExampleChain(height=10)
    window = BlockWindow(chain)
    await window.refresh()
    chain.height = 15
    await window.refresh()
    assert await window.challenge_block(START_MS + 12 * BLOCK_MS) == block_number(13)
    assert await window.challenge_block(START_MS + 12 * BLOCK_MS - 1) == block_number(12)


async def test_no_block_is_found_before_it_exists() -> None:
    window = BlockWindow(ExampleChain(height=10))
    assert await window.challenge_block(START_MS) is None
    await window.refresh()
    assert await window.challenge_block(START_MS + 10 * BLOCK_MS) is None


async def test_answers_from_before_the_start_get_the_block_that_was_first_then() -> None:
    window = BlockWindow(ExampleChain(height=100))
    await window.refresh()
    assert await window.challenge_block(START_MS + 40 * BLOCK_MS) == block_number(41)


async def test_a_gap_between_two_looks_is_filled() -> None:
    chain = ExampleChain(height=10)
    window = BlockWindow(chain)
    await window.refresh()
    chain.height = 60
    await window.refresh()
    assert await window.challenge_block(START_MS + 30 * BLOCK_MS) == block_number(31)


async def test_what_nodes_have_forgotten_is_too_old() -> None:
    window = BlockWindow(ExampleChain(height=1000))
    await window.refresh()
    oldest = 1000 - MAX_LOOKBACK_BLOCKS
    assert await window.challenge_block(START_MS + oldest * BLOCK_MS) == block_number(oldest + 1)
    with pytest.raises(TooOld):
        await window.challenge_block(START_MS + (oldest - 2) * BLOCK_MS)


async def test_a_long_absence_starts_a_new_window() -> None:
    chain = ExampleChain(height=10)
    window = BlockWindow(chain)
    await window.refresh()
    chain.height, chain.oldest_kept = 5000, 4745
    assert await window.refresh() == block_number(5000)
    assert await window.challenge_block(START_MS + 4990 * BLOCK_MS) == block_number(4991)


async def test_a_chain_that_goes_away_in_the_middle_leaves_no_gap() -> None:
    chain = ExampleChain(height=10)
    window = BlockWindow(chain)
    await window.refresh()
    chain.height, chain.oldest_kept = 20, 15
    with pytest.raises(ChainUnavailable):
        await window.refresh()
    chain.oldest_kept = 0
    await window.refresh()
    assert await window.challenge_block(START_MS + 12 * BLOCK_MS) == block_number(13)


async def test_a_node_that_is_behind_changes_nothing() -> None:
    chain = ExampleChain(height=10)
    window = BlockWindow(chain)
    await window.refresh()
    chain.height = 8
    assert await window.refresh() == block_number(10)


async def test_the_window_is_bounded() -> None:
    chain = ExampleChain(height=1)
    window = BlockWindow(chain)
    for height in range(1, 3 * KEPT_BLOCKS, 200):
        chain.height = height
        await window.refresh()
    assert len(window._blocks) == KEPT_BLOCKS
