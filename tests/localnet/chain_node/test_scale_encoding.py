import pytest
from hypothesis import given
from hypothesis import strategies as st

from localnet.chain_node.runtime import Runtime
from localnet.chain_node.scale_encoding import Reader, ScaleError, compact, option, sized, text, vector

CODEC = Runtime(slot_duration_ms=1_000).codec


@given(st.integers(0, 2**128 - 1))
def test_a_compact_integer_is_encoded_as_the_sdk_encodes_it(value: int) -> None:
    assert compact(value) == CODEC.encode_compact(value)
    assert Reader(compact(value)).compact() == value


@given(st.integers(0, 2**536 - 1))
def test_compact_integers_come_back_over_their_whole_range(value: int) -> None:
    assert Reader(compact(value)).compact() == value


@pytest.mark.parametrize("value", [-1, 2**536])
def test_integers_outside_the_compact_range_are_refused(value: int) -> None:
    with pytest.raises(ScaleError):
        compact(value)


@pytest.mark.parametrize("padded", ["0100", "02000000", "0300000000", "01", ""])
def test_a_compact_integer_that_is_too_long_or_cut_short_is_refused(padded: str) -> None:
    with pytest.raises(ScaleError):
        Reader(bytes.fromhex(padded)).compact()


@given(st.binary(max_size=300), st.text(max_size=50))
def test_byte_strings_and_texts_are_encoded_as_the_sdk_encodes_them(data: bytes, words: str) -> None:
    assert sized(data) == CODEC.encode("Vec<u8>", data)
    assert text(words) == CODEC.encode("str", words)
    assert Reader(sized(data)).sized() == data


@given(st.lists(st.integers(0, 2**32 - 1)))
def test_vectors_are_encoded_as_the_sdk_encodes_them(values: list[int]) -> None:
    encoded = vector(value.to_bytes(4, "little") for value in values)
    assert encoded == CODEC.encode("Vec<u32>", values)


def test_an_option_says_whether_there_is_a_value() -> None:
    assert option(None) == b"\0"
    assert option(b"\7") == b"\1\7"


@given(st.binary(max_size=60), st.integers(0, 80))
def test_a_reader_never_reads_past_the_end(data: bytes, count: int) -> None:
    reader = Reader(data)
    if count > len(data):
        with pytest.raises(ScaleError):
            reader.take(count)
    else:
        assert reader.take(count) + reader.rest() == data


@given(st.binary(max_size=40))
def test_reading_garbage_raises_nothing_but_a_scale_error(data: bytes) -> None:
    for read in (Reader.compact, Reader.sized, Reader.byte):
        try:
            read(Reader(data))
        except ScaleError:
            continue
