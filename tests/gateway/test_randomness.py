"""Buffered randomness: in range, used once, and refilled."""

import re

import pytest

from gateway.randomness import BUFFER_BYTES, REQUEST_ID_BYTES, BufferedSystemRandom, RequestIds


@pytest.mark.parametrize("bits", [1, 7, 8, 9, 31, 53, 64, BUFFER_BYTES * 8, BUFFER_BYTES * 8 + 1])
def test_numbers_have_at_most_their_bits_and_use_all_of_them(bits: int) -> None:
    source = BufferedSystemRandom()
    drawn = [source.getrandbits(bits) for _ in range(64)]
    assert all(0 <= number < 1 << bits for number in drawn)
    assert any(number >> (bits - 1) for number in drawn), "the highest bit is set now and then"


def test_no_bytes_are_used_twice() -> None:
    source = BufferedSystemRandom()
    drawn = [source.getrandbits(64) for _ in range(4 * BUFFER_BYTES // 8)]
    assert len(set(drawn)) == len(drawn)


def test_floats_are_below_one_and_spread() -> None:
    source = BufferedSystemRandom()
    drawn = [source.random() for _ in range(2000)]
    assert all(0.0 <= number < 1.0 for number in drawn)
    assert 0.4 < sum(drawn) / len(drawn) < 0.6


def test_every_number_of_a_range_is_drawn() -> None:
    source = BufferedSystemRandom()
    assert {source.randrange(3) for _ in range(200)} == {0, 1, 2}


def test_ids_of_requests_are_128_bits_in_hexadecimal_and_never_the_same() -> None:
    new_id = RequestIds()
    ids = [new_id() for _ in range(3 * BUFFER_BYTES // REQUEST_ID_BYTES + 1)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert len(set(ids)) == len(ids)


def test_two_makers_of_ids_share_none() -> None:
    first, second = RequestIds(), RequestIds()
    assert first() != second()
