"""The sizes that the table prints are those of the change."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from localnet.cheats.__main__ import OF_EVERY_MATRIX, table
from localnet.cheats.noise import writes_noisy
from localnet.cheats.rewriting import rewrite_model
from localnet.cheats.rounding import round_to_int8
from localnet.cheats.weight_change import change_size, storage_rounding
from localnet.config import PROJECT_ROOT
from localnet.roles import ROLES
from tests.localnet.cheats.weight_folders import random_weight, write_folder

IN_LAYER = "model.layers.{}.mlp.up_proj.weight"


def folder_with_two_layers(folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    matrices = {IN_LAYER.format(n): random_weight(64, 64, seed=n, dtype=dtype) for n in (0, 1)}
    embeddings = {"model.embed_tokens.weight": random_weight(16, 16, dtype=dtype)}
    return write_folder(folder, {"a.safetensors": matrices, "b.safetensors": embeddings})


def test_a_folder_does_not_differ_from_itself(tmp_path: Path) -> None:
    size = change_size(*[folder_with_two_layers(tmp_path / "s")] * 2)
    assert (size.matrices, size.changed, size.relative) == (2, 0, 0.0)


def test_a_change_of_one_layer_counts_against_all_layers(tmp_path: Path) -> None:
    source = folder_with_two_layers(tmp_path / "s")
    target = rewrite_model(source, tmp_path / "t", lambda name, w: w * 1.1 if ".layers.1." in name else w)
    size = change_size(source, target)
    assert (size.matrices, size.changed) == (2, 1)
    assert size.relative == pytest.approx(0.1 / 2**0.5, rel=0.02)


def test_a_change_outside_the_layers_does_not_count(tmp_path: Path) -> None:
    source = folder_with_two_layers(tmp_path / "s")
    target = rewrite_model(source, tmp_path / "t", lambda name, w: w * 2 if "embed" in name else w)
    assert change_size(source, target).changed == 0


def test_noise_is_measured_as_large_as_it_is(tmp_path: Path) -> None:
    source = folder_with_two_layers(tmp_path / "s")
    target = writes_noisy(0.03)(source, tmp_path / "t")
    assert change_size(source, target).relative == pytest.approx(0.03, rel=0.05)


def test_storing_in_float32_adds_nothing_and_in_bfloat16_a_little(tmp_path: Path) -> None:
    wide = folder_with_two_layers(tmp_path / "wide")
    narrow = folder_with_two_layers(tmp_path / "narrow", torch.bfloat16)
    assert storage_rounding(wide, lambda _, weight: round_to_int8(weight)) == 0.0
    assert 0.0005 < storage_rounding(narrow, lambda _, weight: round_to_int8(weight)) < 2**-9


def test_every_change_whose_storage_is_measured_is_a_role() -> None:
    assert all(ROLES[name].write_model is not None for name in OF_EVERY_MATRIX)


def test_the_table_has_a_line_for_each_role_with_other_weights(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    roles = [ROLES[name] for name in ("honest", "int8", "layer-dropped")]
    _, int8, dropped = table(tiny_model_folder, tmp_path, roles)
    assert int8.split()[:4] == ["int8", "28", "of", "28"]
    assert int8.count("%") == 2
    assert dropped.split()[:4] == ["layer-dropped", "2", "of", "28"]
    assert dropped.count("%") == 1


@pytest.mark.parametrize(("argv", "words"), [(["--help"], "FOLDER"), (["/nowhere"], "error: /nowhere")])
def test_the_command_answers_in_words(argv: list[str], words: str) -> None:
    command = [sys.executable, "-m", "localnet.cheats", *argv]
    result = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT_ROOT)
    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr
