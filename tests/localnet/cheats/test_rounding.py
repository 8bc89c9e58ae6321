"""Each rounding's levels and errors, and what of a model it leaves alone."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from localnet.cheats.rewriting import WriteModel
from localnet.cheats.rounding import (
    E4M3_MAX,
    GROUP,
    INT8_LEVELS,
    round_to_fp8,
    round_to_int4,
    round_to_int8,
    write_fp8_model,
    write_int4_model,
    write_int8_model,
)
from tests.localnet.cheats.weight_folders import changed_names, matrices_of_layers, random_weight

Rounding = Callable[[Tensor], Tensor]

ROUNDINGS = pytest.mark.parametrize("rounding", [round_to_int8, round_to_fp8, round_to_int4])


def relative_error(rounding: Rounding, weight: Tensor) -> float:
    return float((rounding(weight).float() - weight.float()).norm() / weight.float().norm())


def test_each_group_of_int4_has_at_most_fifteen_levels() -> None:
    for group in torch.split(round_to_int4(random_weight(8, 96)), GROUP, dim=1):
        assert all(len(set(row.tolist())) <= 15 for row in group)


def test_each_channel_of_int8_has_at_most_255_levels_and_more_than_fifteen() -> None:
    rounded = round_to_int8(random_weight(4, 4096))
    counts = [len(set(row.tolist())) for row in rounded]
    assert max(counts) <= 2 * INT8_LEVELS + 1
    assert min(counts) > 15


def test_int8_keeps_a_scale_for_each_output_channel() -> None:
    weight = random_weight(2, 64)
    weight[1] *= 1000
    alone = round_to_int8(weight[:1])
    assert torch.equal(round_to_int8(weight)[:1], alone)


def test_fp8_keeps_one_scale_for_the_whole_tensor() -> None:
    small = random_weight(1, 64) * 1e-6
    huge = torch.full((1, 64), E4M3_MAX)
    assert torch.count_nonzero(round_to_fp8(torch.cat([small, huge]))[0]) == 0
    assert torch.count_nonzero(round_to_fp8(small)[0]) > 0


def test_int_rounding_moves_each_weight_by_at_most_half_a_step() -> None:
    weight = random_weight(8, 96)
    int8 = (round_to_int8(weight) - weight).abs()
    assert bool((int8 <= weight.abs().amax(1, keepdim=True) / 127 / 2 + 1e-6).all())
    int4 = (round_to_int4(weight) - weight).abs()
    for group, errors in zip(torch.split(weight, GROUP, 1), torch.split(int4, GROUP, 1), strict=True):
        assert bool((errors <= group.abs().amax(1, keepdim=True) / 7 / 2 + 1e-6).all())


def test_fp8_moves_a_weight_by_at_most_a_sixteenth_of_itself_where_it_is_normal() -> None:
    weight = random_weight(8, 96)
    normal = weight.abs() > weight.abs().amax() / E4M3_MAX * 2**-6
    errors = (round_to_fp8(weight) - weight).abs() / weight.abs()
    assert float(errors[normal].max()) <= 1 / 16 + 1e-6


def test_the_errors_are_of_the_size_that_each_format_is_known_for() -> None:
    weight = random_weight(64, 1024)
    assert 0.005 < relative_error(round_to_int8, weight) < 0.012
    assert 0.02 < relative_error(round_to_fp8, weight) < 0.035
    assert 0.07 < relative_error(round_to_int4, weight) < 0.13


def test_storing_int8_in_bfloat16_adds_a_small_part_of_its_own_error() -> None:
    weight = random_weight(64, 1024, dtype=torch.bfloat16)
    exact, stored = round_to_int8(weight.float()), round_to_int8(weight).float()
    assert 0 < float((stored - exact).norm()) < 0.3 * float((exact - weight.float()).norm())


@ROUNDINGS
def test_rounding_changes_weights_and_twice_changes_nothing_more(rounding: Rounding) -> None:
    once = rounding(random_weight(8, 96))
    assert not torch.equal(once, random_weight(8, 96))
    assert torch.allclose(rounding(once), once, rtol=1e-5, atol=1e-6)


@ROUNDINGS
def test_zeros_stay_zero(rounding: Rounding) -> None:
    assert torch.equal(rounding(torch.zeros(2, 64)), torch.zeros(2, 64))


@ROUNDINGS
@given(seed=st.integers(0, 1000), exponent=st.integers(-20, 20))
def test_rounding_keeps_shape_dtype_and_signs_and_follows_powers_of_two(
    rounding: Rounding, seed: int, exponent: int
) -> None:
    weight = random_weight(3, 64, seed=seed, dtype=torch.bfloat16)
    rounded = rounding(weight)
    assert (rounded.shape, rounded.dtype) == (weight.shape, weight.dtype)
    assert bool((rounded * weight >= 0).all())
    assert torch.equal(rounding(weight * 2.0**exponent), rounded * 2.0**exponent)


def test_int4_leaves_a_matrix_that_its_groups_do_not_divide() -> None:
    assert torch.equal(round_to_int4(random_weight(2, 40)), random_weight(2, 40))


@pytest.mark.parametrize("write", [write_int8_model, write_fp8_model])
def test_exactly_the_matrices_of_decoder_layers_are_rounded(
    write: WriteModel, tiny_model_folder: Path, tmp_path: Path
) -> None:
    target = write(tiny_model_folder, tmp_path / "cheap")
    assert changed_names(tiny_model_folder, target) == matrices_of_layers(tiny_model_folder, range(4))


def test_int4_rounds_those_whose_input_its_groups_divide(tiny_model_folder: Path, tmp_path: Path) -> None:
    changed = changed_names(tiny_model_folder, write_int4_model(tiny_model_folder, tmp_path / "cheap"))
    matrices = matrices_of_layers(tiny_model_folder, range(4))
    assert changed == {name for name in matrices if "down_proj" not in name}  # 688 inputs
