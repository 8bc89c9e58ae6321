import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.committed_positions import (
    PROMPT_TAIL_TOKENS,
    STRATUM_TOKENS,
    CommittedPositions,
    committed_positions,
)

request_ids = st.text("abcdef0123456789", min_size=8, max_size=32)


@given(request_ids, st.integers(1, 200), st.integers(0, 200))
def test_each_full_stratum_holds_a_committed_position(request_id: str, prompt: int, output: int) -> None:
    positions = committed_positions(request_id, 0, prompt, output, 0)
    computed = prompt + max(output - 1, 0)
    for stratum in range(computed // STRATUM_TOKENS):
        start = stratum * STRATUM_TOKENS
        assert any(start <= position < start + STRATUM_TOKENS for position in positions)


@given(request_ids, st.integers(1, 200))
def test_at_least_four_positions_of_a_long_enough_prompt_are_committed(request_id: str, prompt: int) -> None:
    positions = committed_positions(request_id, 0, prompt, 1, 0)
    assert len(positions) >= min(4, prompt)
    assert prompt - 1 in positions


@given(request_ids, st.integers(1, 100), st.lists(st.integers(1, 40), max_size=8))
def test_asking_piecewise_while_the_output_grows_gives_the_same_positions(
    request_id: str, prompt: int, pieces: list[int]
) -> None:
    drawn = CommittedPositions(request_id, 0, prompt)
    collected, start = drawn.within(0, prompt), prompt
    for piece in pieces:
        collected += drawn.within(start, start + piece)
        start += piece
    assert collected == drawn.within(0, start)


@given(request_ids, st.integers(17, 200), st.integers(1, 100), st.data())
def test_cached_positions_are_left_out_and_nothing_else(
    request_id: str, prompt: int, output: int, data: st.DataObject
) -> None:
    cached = data.draw(st.integers(0, prompt - 1))
    everything = committed_positions(request_id, 0, prompt, output, 0)
    assert committed_positions(request_id, 0, prompt, output, cached) == [
        p for p in everything if p >= cached
    ]


def test_the_last_output_token_is_never_committed() -> None:
    for number in range(50):
        assert max(committed_positions(f"request{number:04}", 0, 20, 30, 0)) <= 48


def test_other_requests_and_other_choices_commit_elsewhere() -> None:
    base = committed_positions("request-one", 0, 300, 300, 0)
    assert base != committed_positions("request-two", 0, 300, 300, 0)
    assert base != committed_positions("request-one", 1, 300, 300, 0)


def test_about_one_position_in_sixteen_is_committed() -> None:
    share = len(committed_positions("request-one", 0, 800, 801, 0)) / 1600
    assert 1 / 16 <= share <= 1 / 16 + PROMPT_TAIL_TOKENS / 1600


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        CommittedPositions("request-one", 0, 0)
