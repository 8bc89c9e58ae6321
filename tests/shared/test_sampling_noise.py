"""The noise, bit for bit against murmur3 in plain Python and against vLLM's own kernel source."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.sampling_noise import (
    choice_seed,
    gumbel_noise,
    gumbel_noise_at,
    hash_bits,
    large_noise_at,
    sampled_tokens,
    uniform_noise,
)
from tests.shared.numpy_triton import Lanes, kernel_functions, lanes

SEEDS = [0, 1, -1, 7, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40 + 3, 2**63 - 1, -(2**63)]
POSITIONS = [0, 1, 15, 4095, 131_071, 2**31 - 1, 0, 3, 2**20, 77, 5]
QWEN_VOCABULARY = 152_064
LOGARITHM_ERROR = 1e-6
"""Logarithms of two libraries differ in the last bit of numbers up to 23."""

MEAN, DEVIATION = 0.5772156649, math.pi / math.sqrt(6)
"""Of the standard Gumbel distribution (Gumbel, 1954): Euler's constant and π/√6."""

int64 = st.integers(-(2**63), 2**63 - 1)


def rotate(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & 0xFFFFFFFF


def murmur3(data: bytes, start: int = 0) -> int:
    """MurmurHash3_x86_32 of whole 32-bit words, in Python's own integers."""
    state = start
    for (word,) in struct.iter_unpack("<I", data):
        key = rotate(word * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
        state = (rotate(state ^ key, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    state ^= len(data)
    state = (state ^ state >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    state = (state ^ state >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return state ^ state >> 16


def scalar_bits(seed: int, position: int, token: int) -> int:
    return murmur3(struct.pack("<qII", seed, position & 0xFFFFFFFF, token))


def rows(values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


def unsigned(bits: Tensor) -> Any:
    return bits.numpy().view(np.uint32)


@pytest.fixture(scope="module")
def kernel() -> dict[str, Any]:
    return kernel_functions()


def kernel_gumbel(kernel: dict[str, Any], uniform: Lanes) -> Any:
    """The line of the kernel that makes noise of a uniform number."""
    return -np.log(-kernel["_log1p_neg_stable"](uniform))


@pytest.mark.parametrize(
    ("data", "start", "expected"),
    [
        (b"", 0, 0),
        (b"", 1, 0x514E28B7),
        (b"", 0xFFFFFFFF, 0x81F16F39),
        (b"\xff\xff\xff\xff", 0, 0x76293B50),
        (b"\x21\x43\x65\x87", 0, 0xF55B516B),
        (b"\x21\x43\x65\x87", 0x5082EDEE, 0x2362F9DE),
        (b"\x00\x00\x00\x00", 0, 0x2362F9DE),
    ],
)
def test_the_scalar_murmur3_gives_the_published_hashes(data: bytes, start: int, expected: int) -> None:
    assert murmur3(data, start) == expected


def test_the_bits_are_murmur3_of_seed_position_and_token() -> None:
    tokens = 300
    bits = unsigned(hash_bits(rows(SEEDS), rows(POSITIONS), tokens))
    for row, (seed, position) in enumerate(zip(SEEDS, POSITIONS, strict=True)):
        assert bits[row].tolist() == [scalar_bits(seed, position, token) for token in range(tokens)]


@given(seed=int64, position=st.integers(0, 2**31 - 1), vocabulary=st.integers(1, 64))
def test_any_seed_and_position_gives_the_scalar_bits(seed: int, position: int, vocabulary: int) -> None:
    bits = unsigned(hash_bits(rows([seed]), rows([position]), vocabulary))[0]
    assert bits.tolist() == [scalar_bits(seed, position, token) for token in range(vocabulary)]


def test_the_bits_of_a_large_vocabulary_are_those_of_the_kernels_source(kernel: dict[str, Any]) -> None:
    bits = unsigned(hash_bits(rows(SEEDS), rows(POSITIONS), QWEN_VOCABULARY))
    tokens = lanes(range(QWEN_VOCABULARY))
    for row, (seed, position) in enumerate(zip(SEEDS, POSITIONS, strict=True)):
        expected = kernel["murmur3_hash32"](lanes([seed]), lanes([position]), tokens)
        assert expected.dtype == np.uint32
        assert np.array_equal(bits[row], expected)


def test_the_uniform_numbers_are_those_of_the_kernels_source_to_the_bit(kernel: dict[str, Any]) -> None:
    ours = uniform_noise(rows(SEEDS), rows(POSITIONS), 50_000).numpy()
    for row, (seed, position) in enumerate(zip(SEEDS, POSITIONS, strict=True)):
        theirs = kernel["murmur3_uniform32"](lanes([seed]), lanes([position]), lanes(range(50_000)))
        assert theirs.dtype == np.float32
        assert np.array_equal(ours[row].view(np.uint32), theirs.view(np.uint32))


def test_the_noise_is_that_of_the_kernels_source(kernel: dict[str, Any]) -> None:
    ours = gumbel_noise(rows(SEEDS), rows(POSITIONS), 50_000).numpy()
    for row, (seed, position) in enumerate(zip(SEEDS, POSITIONS, strict=True)):
        uniform = kernel["murmur3_uniform32"](lanes([seed]), lanes([position]), lanes(range(50_000)))
        theirs = kernel_gumbel(kernel, uniform)
        assert theirs.dtype == np.float32
        assert np.abs(ours[row] - theirs).max() < LOGARITHM_ERROR


def test_a_changed_kernel_is_told_apart(kernel: dict[str, Any]) -> None:
    ours = unsigned(hash_bits(rows([7]), rows([9]), 1000))[0]
    changed = kernel["murmur3_hash32"](lanes([7]), lanes([9]), lanes(range(1000)), 0x9E3779B9)
    assert (ours == changed).mean() < 0.01


def test_the_noise_is_the_double_logarithm_of_the_uniform_number() -> None:
    seeds, positions = rows(SEEDS), rows(POSITIONS)
    exact = uniform_noise(seeds, positions, 50_000).to(torch.float64)
    away_from_one = exact < 0.999
    expected = -torch.log(-torch.log1p(-exact))
    actual = gumbel_noise(seeds, positions, 50_000).to(torch.float64)
    assert float((actual - expected)[away_from_one].abs().max()) < 1e-4
    assert float(actual.min()) > -2.82


def test_the_noise_of_single_tokens_is_that_of_the_whole_row() -> None:
    seeds, positions = rows(SEEDS), rows(POSITIONS)
    tokens = rows([0, 1, 299, 17, 255, 256, 42, 128, 3, 298, 77])
    whole = gumbel_noise(seeds, positions, 300)
    places = torch.arange(len(tokens))
    single = gumbel_noise_at(seeds, positions, places, tokens)
    assert torch.allclose(single, whole[places, tokens], rtol=0, atol=LOGARITHM_ERROR)
    assert not torch.allclose(gumbel_noise_at(seeds, positions, places, tokens + 1), single, atol=0.01)
    assert not torch.allclose(gumbel_noise_at(seeds, positions, places.flip(0), tokens), single, atol=0.01)


@pytest.mark.parametrize("floor", [-5.0, 0.0, 3.0, 9.0])
def test_all_noise_above_a_floor_is_found_and_hardly_any_below(floor: float) -> None:
    seeds, positions, vocabulary = rows([7, 8]), rows([100, 3]), 50_000
    whole = gumbel_noise(seeds, positions, vocabulary).flatten()
    places = torch.arange(2).repeat_interleave(vocabulary)
    tokens = torch.arange(vocabulary).repeat(2)
    found, noise = large_noise_at(seeds, positions, places, tokens, torch.full((2 * vocabulary,), floor))
    assert torch.allclose(noise, whole[found], rtol=0, atol=LOGARITHM_ERROR)
    left_out = torch.ones_like(whole, dtype=torch.bool)
    left_out[found] = False
    assert not bool((whole[left_out] > floor + LOGARITHM_ERROR).any())
    assert float((noise < floor - 0.05).float().mean()) < (0.01 if floor >= 3 else 0.5)


@pytest.mark.parametrize(
    ("seed", "position"), [(8, 100), (-7, 100), (7 + 2**32, 100), (7, 101), (7, 99), (100, 7)]
)
def test_another_seed_or_position_gives_unrelated_noise(seed: int, position: int) -> None:
    right = gumbel_noise(rows([7]), rows([100]), 20_000)[0]
    wrong = gumbel_noise(rows([seed]), rows([position]), 20_000)[0]
    assert float(torch.corrcoef(torch.stack([right, wrong]))[0, 1].abs()) < 0.03
    assert int(right.argmax()) != int(wrong.argmax())


def test_neighbour_tokens_get_unrelated_noise() -> None:
    noise = gumbel_noise(rows([7]), rows([100]), 20_001)[0]
    assert float(torch.corrcoef(torch.stack([noise[1:], noise[:-1]]))[0, 1].abs()) < 0.03


def test_the_noise_is_gumbel_distributed() -> None:
    noise = gumbel_noise(rows(range(-8, 8)), rows(range(0, 1600, 100)), 1 << 16).to(torch.float64)
    assert float(noise.mean()) == pytest.approx(MEAN, abs=0.005)
    assert float(noise.std()) == pytest.approx(DEVIATION, abs=0.005)
    for quantile in (0.01, 0.25, 0.5, 0.75, 0.99, 0.9999):
        below = float((noise <= -math.log(-math.log(quantile))).to(torch.float64).mean())
        assert below == pytest.approx(quantile, abs=4 * math.sqrt(quantile * (1 - quantile) / noise.numel()))


def test_tokens_are_drawn_as_often_as_their_probabilities_say() -> None:
    probabilities = torch.tensor([0.5, 0.25, 0.125, 0.0625, 0.0625])
    draws = 20_000
    logits = probabilities.log().expand(draws, -1)
    drawn = sampled_tokens(logits, torch.full((draws,), 11), torch.arange(draws))
    shares = torch.bincount(drawn, minlength=5) / draws
    assert torch.allclose(shares, probabilities, atol=0.015)


def dense_argmax(logits: Tensor, seeds: Tensor, positions: Tensor) -> Tensor:
    return (logits + gumbel_noise(seeds, positions, logits.shape[1])).argmax(dim=1)


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 3.0, 30.0, 3000.0])
@pytest.mark.parametrize("offset", [0.0, -200.0, 500.0])
def test_sparing_logarithms_changes_no_token(spread: float, offset: float) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(48, 5003, generator=generator) * spread + offset
    seeds, positions = rows(range(-24, 24)), rows(range(1000, 1048))
    assert torch.equal(sampled_tokens(logits, seeds, positions), dense_argmax(logits, seeds, positions))


@settings(max_examples=50)
@given(seed=int64, kept=st.integers(1, 40), scale=st.floats(0.01, 100))
def test_masked_tokens_are_never_drawn(seed: int, kept: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed % 2**31)
    logits = torch.randn(3, 700, generator=generator) * scale
    logits[:, torch.randperm(700, generator=generator)[kept:]] = -math.inf
    seeds, positions = rows([seed] * 3), rows([5, 6, 7])
    drawn = sampled_tokens(logits, seeds, positions)
    assert torch.equal(drawn, dense_argmax(logits, seeds, positions))
    assert bool(logits[torch.arange(3), drawn].isfinite().all())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_give_some_token_and_no_error(value: float) -> None:
    logits = torch.full((2, 100), value)
    logits[1] = torch.arange(100)
    drawn = sampled_tokens(logits, rows([1, 2]), rows([3, 4]))
    assert 0 <= int(drawn[0]) < 100
    assert torch.equal(drawn[1:], dense_argmax(logits[1:], rows([2]), rows([4])))


def test_no_rows_give_no_tokens() -> None:
    drawn = sampled_tokens(torch.zeros(0, 10), rows([]), rows([]))
    assert (drawn.shape, drawn.dtype) == ((0,), torch.int64)


def test_a_row_draws_the_same_in_any_batch() -> None:
    logits = torch.randn(6, 2000, generator=torch.Generator().manual_seed(4))
    seeds, positions = rows(range(6)), rows(range(50, 56))
    together = sampled_tokens(logits, seeds, positions)
    alone = [sampled_tokens(logits[i : i + 1], seeds[i : i + 1], positions[i : i + 1]) for i in range(6)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize(
    ("seed", "number", "expected"),
    [
        (7, 0, 7),
        (7, 3, 10),
        (-1, 1, 0),
        (2**63 - 1, 1, -(2**63)),
        (2**63, 0, -(2**63)),
        (-(2**63), 2, 2 - 2**63),
    ],
)
def test_choices_count_up_from_the_seed_and_wrap(seed: int, number: int, expected: int) -> None:
    assert choice_seed(seed, number) == expected


@given(seed=int64, number=st.integers(0, 127))
def test_a_choices_seed_fits_64_signed_bits_and_differs_from_its_neighbours(seed: int, number: int) -> None:
    chosen = choice_seed(seed, number)
    assert -(2**63) <= chosen < 2**63
    assert (chosen - seed - number) % 2**64 == 0
