import base64
import hashlib
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedMessage
from shared.sketches import (
    SKETCH_SIZE,
    cosine_distance,
    decode_base64,
    projection_matrix,
    sketch,
    sketch_from_bytes,
    sketch_to_bytes,
    standardise,
)

HIDDEN = 512


def vectors(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn(count, HIDDEN, generator=torch.Generator().manual_seed(seed))


def test_the_projection_is_the_published_one() -> None:
    bits = hashlib.shake_256(b"constantinople/projection/1|4").digest(4 * SKETCH_SIZE // 8)
    expected = [1 if byte >> bit & 1 else -1 for byte in bits for bit in range(8)]
    assert (projection_matrix(4) * math.sqrt(SKETCH_SIZE)).flatten().tolist() == expected


def test_the_projection_has_entries_of_both_signs_in_equal_share() -> None:
    signs = projection_matrix(HIDDEN).sign()
    assert abs(float(signs.mean())) < 4 / math.sqrt(signs.numel())


def test_standardising_removes_mean_and_scale() -> None:
    mean, deviation = torch.full((HIDDEN,), 5.0), torch.full((HIDDEN,), 3.0)
    noise = vectors(0)
    assert torch.allclose(standardise(noise * 3 + 5, mean, deviation), noise, atol=1e-5)


def test_a_dimension_that_never_moves_does_not_divide_by_zero() -> None:
    result = standardise(torch.ones(HIDDEN), torch.ones(HIDDEN), torch.zeros(HIDDEN))
    assert torch.equal(result, torch.zeros(HIDDEN))


def test_sketches_keep_the_angle_between_vectors() -> None:
    zero, one = torch.zeros(HIDDEN), torch.ones(HIDDEN)
    left, noise = vectors(1, 200), vectors(2, 200)
    right = left + 0.1 * noise
    exact = torch.tensor([cosine_distance(a, b) for a, b in zip(left, right, strict=True)])
    sketched_left, sketched_right = (sketch(v, zero, one).float() for v in (left, right))
    sketched = torch.tensor(
        [cosine_distance(a, b) for a, b in zip(sketched_left, sketched_right, strict=True)]
    )
    assert float(sketched.mean()) == pytest.approx(float(exact.mean()), rel=0.15)


def test_sketches_of_unrelated_vectors_are_far_apart() -> None:
    zero, one = torch.zeros(HIDDEN), torch.ones(HIDDEN)
    pairs = zip(
        sketch(vectors(3, 50), zero, one).float(), sketch(vectors(4, 50), zero, one).float(), strict=True
    )
    assert min(cosine_distance(a, b) for a, b in pairs) > 0.4


def test_a_sketch_survives_its_bytes() -> None:
    value = sketch(vectors(5)[0], torch.zeros(HIDDEN), torch.ones(HIDDEN))
    assert torch.equal(sketch_from_bytes(sketch_to_bytes(value)), value.float())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e6])
def test_a_sketch_with_an_impossible_number_is_refused(bad: float) -> None:
    value = torch.zeros(SKETCH_SIZE)
    value[7] = bad
    with pytest.raises(MalformedMessage):
        sketch_from_bytes(sketch_to_bytes(value))


@given(st.binary(max_size=300).filter(lambda data: len(data) != SKETCH_SIZE * 2))
def test_a_sketch_of_the_wrong_length_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage, match="bytes"):
        sketch_from_bytes(data)


@given(st.binary(max_size=200))
def test_base64_reads_back(data: bytes) -> None:
    assert decode_base64(base64.b64encode(data).decode(), 200) == data


@pytest.mark.parametrize("text", ["abc", "a b=", "ab\n==", "é===", "!!!!"])
def test_text_that_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        decode_base64(text, 100)


def test_base64_beyond_its_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(MalformedMessage, match="longer than"):
        decode_base64("A" * 1000, 100)


@given(st.integers(0, 1000))
def test_distance_is_zero_to_oneself_two_to_the_opposite_and_one_to_nothing(seed: int) -> None:
    vector = vectors(seed)[0]
    assert cosine_distance(vector, vector * 3) == pytest.approx(0, abs=1e-6)
    assert cosine_distance(vector, -vector) == pytest.approx(2, abs=1e-6)
    assert cosine_distance(vector, torch.zeros(HIDDEN)) == 1.0
