"""The noise has its stated size, and is the same on every run."""

from pathlib import Path

import pytest
import torch

from localnet.cheats.noise import with_noise, writes_noisy
from tests.localnet.cheats.weight_folders import (
    changed_names,
    matrices_of_layers,
    random_weight,
    tensors_of,
)


@pytest.mark.parametrize("relative", [0.003, 0.01, 0.03])
def test_the_noise_has_its_stated_size(relative: float) -> None:
    weight = random_weight(256, 256)
    ratio = with_noise("a", weight, relative) / weight - 1
    assert float(ratio.std()) == pytest.approx(relative, rel=0.02)
    assert abs(float(ratio.mean())) < relative / 20


def test_the_noise_is_gaussian_and_not_merely_of_that_size() -> None:
    normal = (with_noise("a", torch.ones(256, 256), 0.01) - 1) / 0.01
    assert float((normal.abs() < 1).float().mean()) == pytest.approx(0.683, abs=0.01)
    assert float((normal.abs() < 2).float().mean()) == pytest.approx(0.954, abs=0.01)


def test_the_same_tensor_gets_the_same_noise_on_every_run_and_others_get_other_noise() -> None:
    weight = random_weight(8, 8)
    assert torch.equal(with_noise("a", weight, 0.01), with_noise("a", weight, 0.01))
    assert not torch.equal(with_noise("a", weight, 0.01), with_noise("b", weight, 0.01))


def test_no_noise_changes_nothing() -> None:
    assert torch.equal(with_noise("a", random_weight(8, 8), 0.0), random_weight(8, 8))


def test_in_bfloat16_the_stored_noise_still_has_about_its_size() -> None:
    weight = random_weight(256, 256, dtype=torch.bfloat16)
    stored = with_noise("a", weight, 0.003).float()
    error = float((stored - weight.float()).norm() / weight.float().norm())
    assert error == pytest.approx(0.0035, rel=0.1)  # √(0.003² + bfloat16's own 0.0017²)


def test_exactly_the_matrices_of_decoder_layers_get_noise(tiny_model_folder: Path, tmp_path: Path) -> None:
    target = writes_noisy(0.01)(tiny_model_folder, tmp_path / "noisy")
    changed = changed_names(tiny_model_folder, target)
    assert changed == matrices_of_layers(tiny_model_folder, range(4))
    true, noisy = tensors_of(tiny_model_folder), tensors_of(target)
    errors = [float((noisy[n].float() - true[n].float()).norm() / true[n].float().norm()) for n in changed]
    assert all(error == pytest.approx(0.01, rel=0.1) for error in errors)
