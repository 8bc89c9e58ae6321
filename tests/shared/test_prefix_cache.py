from collections.abc import Sequence

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.prefix_cache import Prefix, PrefixCache, TokenIds, common_length

LAYERS, HEADS, HEAD_SIZE = 2, 1, 4
TOKEN_BYTES = LAYERS * 2 * HEADS * HEAD_SIZE * 4


def ids(tokens: Sequence[int]) -> TokenIds:
    return np.array(tokens, dtype=np.int64)


def prefix(tokens: Sequence[int], layers: int = LAYERS) -> Prefix:
    """Each token's keys and values tell which token it is."""
    states = torch.tensor(tokens, dtype=torch.float32).reshape(1, HEADS, -1, 1).repeat(1, 1, 1, HEAD_SIZE)
    return Prefix(ids(tokens), [(states + layer, states - layer) for layer in range(layers)])


def cache_for(tokens: int) -> PrefixCache:
    return PrefixCache(LAYERS, tokens * TOKEN_BYTES)


def found(cache: PrefixCache, tokens: Sequence[int], limit: int = 1000) -> list[int] | None:
    known = cache.find(ids(tokens), limit)
    return None if known is None else known.token_ids.tolist()


few_tokens = st.lists(st.integers(0, 2), min_size=1, max_size=10)


@given(few_tokens, few_tokens)
def test_the_common_length_is_that_of_the_equal_beginning(one: list[int], other: list[int]) -> None:
    length = common_length(ids(one), ids(other))
    assert one[:length] == other[:length]
    assert length == min(len(one), len(other)) or one[length] != other[length]


def test_the_longest_beginning_is_found_with_its_own_keys_and_values() -> None:
    cache = cache_for(20)
    cache.keep(prefix([1, 2, 9]))
    cache.keep(prefix([1, 2, 3, 4, 8]))
    known = cache.find(ids([1, 2, 3, 4, 5]), 1000)
    assert known is not None
    assert known.token_ids.tolist() == [1, 2, 3, 4]
    for layer, (keys, values) in enumerate(known.layers):
        assert keys[0, 0, :, 0].tolist() == [token + layer for token in (1, 2, 3, 4)]
        assert values[0, 0, :, 0].tolist() == [token - layer for token in (1, 2, 3, 4)]


def test_nothing_is_found_for_a_sequence_that_begins_otherwise() -> None:
    cache = cache_for(20)
    cache.keep(prefix([1, 2, 3]))
    assert found(cache, [2, 2, 3]) is None
    assert found(cache, []) is None


def test_what_is_found_is_never_longer_than_the_limit() -> None:
    cache = cache_for(20)
    cache.keep(prefix([1, 2, 3]))
    assert found(cache, [1, 2, 3], limit=2) == [1, 2]
    assert found(cache, [1, 2, 3], limit=0) is None


def test_what_was_used_longest_ago_makes_room() -> None:
    cache = cache_for(6)
    cache.keep(prefix([1, 1, 1]))
    cache.keep(prefix([2, 2, 2]))
    assert found(cache, [1, 1, 1]) == [1, 1, 1]
    cache.keep(prefix([3, 3, 3]))
    assert found(cache, [2, 2, 2]) is None
    assert found(cache, [1, 1, 1]) == [1, 1, 1]


def test_a_longer_sequence_takes_the_place_of_its_beginning() -> None:
    cache = cache_for(20)
    cache.keep(prefix([1, 2, 3]))
    cache.keep(prefix([1, 2, 3, 4]))
    assert cache.nbytes == 4 * TOKEN_BYTES
    assert found(cache, [1, 2, 3, 4]) == [1, 2, 3, 4]


def test_the_beginning_of_what_is_kept_is_not_kept_twice() -> None:
    cache = cache_for(20)
    cache.keep(prefix([1, 2, 3, 4]))
    cache.keep(prefix([1, 2, 3]))
    cache.keep(prefix([1, 2, 3, 4]))
    assert cache.nbytes == 4 * TOKEN_BYTES


def test_a_sequence_larger_than_the_cache_is_not_kept_and_drops_nothing() -> None:
    cache = cache_for(3)
    cache.keep(prefix([1, 2, 3]))
    cache.keep(prefix([5, 5, 5, 5]))
    assert found(cache, [1, 2, 3]) == [1, 2, 3]
    assert found(cache, [5, 5, 5, 5]) is None


def test_a_pass_that_stopped_early_is_not_kept() -> None:
    cache = cache_for(20)
    cache.keep(prefix([1, 2, 3], layers=LAYERS - 1))
    assert found(cache, [1, 2, 3]) is None


@given(st.lists(few_tokens, max_size=20), st.integers(0, 24))
def test_the_bytes_kept_are_counted_and_bounded(sequences: list[list[int]], room: int) -> None:
    cache = cache_for(room)
    for tokens in sequences:
        cache.keep(prefix(tokens))
        assert cache.nbytes <= room * TOKEN_BYTES
        if len(tokens) <= room:
            assert found(cache, tokens) == tokens
    distinct = {tuple(tokens) for tokens in sequences if found(cache, tokens) == tokens}
    longest = [
        tokens
        for tokens in distinct
        if not any(tokens == other[: len(tokens)] for other in distinct - {tokens})
    ]
    assert cache.nbytes == sum(len(tokens) for tokens in longest) * TOKEN_BYTES
