from pathlib import Path

import pytest
import safetensors.torch
import torch

from localnet.cheats import GROUP, round_to_int4, write_int4_model
from localnet.roles import ROLES, role_model
from shared.errors import ModelError
from shared.model_identity import model_digest, public_model_name


def weights(rows: int = 8, columns: int = 96) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(3))


def test_each_group_has_at_most_fifteen_levels() -> None:
    rounded = round_to_int4(weights())
    for group in torch.split(rounded, GROUP, dim=1):
        assert all(len(set(row.tolist())) <= 15 for row in group)


def test_rounding_moves_each_weight_by_at_most_half_a_step() -> None:
    original = weights()
    error = (round_to_int4(original) - original).abs()
    for group, errors in zip(torch.split(original, GROUP, 1), torch.split(error, GROUP, 1), strict=True):
        step = group.abs().amax(dim=1, keepdim=True) / 7
        assert bool((errors <= step / 2 + 1e-6).all())


def test_rounding_really_changes_weights_and_twice_changes_nothing_more() -> None:
    once = round_to_int4(weights())
    assert not torch.equal(once, weights())
    assert torch.allclose(round_to_int4(once), once, atol=1e-6)


def test_a_row_of_zeros_stays_zero() -> None:
    assert torch.equal(round_to_int4(torch.zeros(2, 64)), torch.zeros(2, 64))


def test_the_cheating_folder_has_the_same_files_and_name_but_other_linear_weights(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    target = role_model(ROLES["int4"], tiny_model_folder, tmp_path)
    assert public_model_name(str(target)) == public_model_name(str(tiny_model_folder))
    assert {file.name for file in target.iterdir()} == {file.name for file in tiny_model_folder.iterdir()}
    assert model_digest(target) != model_digest(tiny_model_folder)
    original, cheap = (
        safetensors.torch.load_file(folder / "model.safetensors") for folder in (tiny_model_folder, target)
    )
    changed = {name for name in original if not torch.equal(original[name], cheap[name])}
    linear = {name for name in original if name.endswith("_proj.weight")} | {"lm_head.weight"}
    assert changed == {name for name in linear if original[name].shape[1] % GROUP == 0}


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="safetensors"):
        write_int4_model(tmp_path, tmp_path / "target")


def test_a_role_is_written_once(tiny_model_folder: Path, tmp_path: Path) -> None:
    target = role_model(ROLES["int4"], tiny_model_folder, tmp_path)
    marker = target / "marker"
    marker.touch()
    assert role_model(ROLES["int4"], tiny_model_folder, tmp_path) == target
    assert marker.exists()
    assert write_int4_model is ROLES["int4"].write_model
