"""One layer left out, or the last third cheaper: those layers change and no others."""

from pathlib import Path

import pytest
import torch

from localnet.cheats.layers import LEFT_OVER, first_cheap_layer, write_layer_dropped_model, write_suffix_model
from localnet.cheats.rounding import round_to_int4
from shared.errors import ModelError
from shared.reference_model import ReferenceModel
from tests.localnet.cheats.weight_folders import (
    changed_names,
    matrices_of_layers,
    random_weight,
    tensors_of,
    write_folder,
)

IDS = [5, 17, 99, 1000, 3]
EVERY_LAYER = {layer: [4] for layer in range(5)}


def test_the_middle_layer_adds_next_to_nothing_and_those_below_are_true(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    target = write_layer_dropped_model(tiny_model_folder, tmp_path / "dropped")
    true, dropped = (
        ReferenceModel.load(str(folder)).hidden_states(IDS, EVERY_LAYER)
        for folder in (tiny_model_folder, target)
    )
    assert all(torch.equal(true[layer], dropped[layer]) for layer in (0, 1, 2))
    left, whole = (states[3] - states[2] for states in (dropped, true))
    assert 0 < float(left.norm()) < 2 * LEFT_OVER * float(whole.norm())
    assert not torch.equal(true[4], dropped[4])


def test_only_the_two_outputs_of_the_middle_layer_change(tiny_model_folder: Path, tmp_path: Path) -> None:
    target = write_layer_dropped_model(tiny_model_folder, tmp_path / "dropped")
    changed = changed_names(tiny_model_folder, target)
    assert changed == {f"model.layers.2.{part}.weight" for part in ("self_attn.o_proj", "mlp.down_proj")}
    true = tensors_of(tiny_model_folder)
    for name in changed:
        assert torch.allclose(tensors_of(target)[name], true[name] * LEFT_OVER, rtol=0.01)


def test_a_bias_of_an_output_is_weakened_too(tmp_path: Path) -> None:
    outputs = {
        f"model.layers.1.{part}.{kind}": random_weight(4, 4) if kind == "weight" else random_weight(4)
        for part in ("self_attn.o_proj", "mlp.down_proj")
        for kind in ("weight", "bias")
    }
    source = write_folder(tmp_path / "s", {"model.safetensors": outputs}, num_hidden_layers=2)
    target = write_layer_dropped_model(source, tmp_path / "t")
    for name, tensor in tensors_of(target).items():
        assert torch.allclose(tensor, outputs[name] * LEFT_OVER, rtol=0.01), name


def test_layer_ten_is_not_taken_for_layer_one(tmp_path: Path) -> None:
    weights = {
        f"model.layers.{layer}.{part}.weight": random_weight(4, 4)
        for layer in (1, 10, 11)
        for part in ("self_attn.o_proj", "mlp.down_proj")
    }
    source = write_folder(tmp_path / "s", {"model.safetensors": weights}, num_hidden_layers=2)
    changed = changed_names(source, write_layer_dropped_model(source, tmp_path / "t"))
    assert {name.split(".")[2] for name in changed} == {"1"}


def test_a_model_with_other_names_is_refused(tmp_path: Path) -> None:
    foreign = {"model.layers.1.attention.dense.weight": random_weight(4, 4)}
    source = write_folder(tmp_path / "s", {"model.safetensors": foreign}, num_hidden_layers=2)
    with pytest.raises(ModelError, match="use a Llama or Qwen2 model"):
        write_layer_dropped_model(source, tmp_path / "t")


@pytest.mark.parametrize(("layers", "first"), [(30, 20), (28, 19), (4, 3), (3, 2)])
def test_a_third_of_the_layers_is_cheap(layers: int, first: int) -> None:
    assert first_cheap_layer(layers) == first


def test_only_the_upper_third_is_rounded(tiny_model_folder: Path, tmp_path: Path) -> None:
    target = write_suffix_model(tiny_model_folder, tmp_path / "suffix")
    cheap = matrices_of_layers(tiny_model_folder, range(3, 4))
    changed = changed_names(tiny_model_folder, target)
    assert changed == {name for name in cheap if "down_proj" not in name}  # its 688 inputs make no groups
    true, rounded = tensors_of(tiny_model_folder), tensors_of(target)
    assert all(torch.equal(rounded[name], round_to_int4(true[name])) for name in changed)


def test_states_below_the_suffix_are_true_to_the_bit_and_those_above_are_not(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    target = write_suffix_model(tiny_model_folder, tmp_path / "suffix")
    true, cheap = (
        ReferenceModel.load(str(folder)).hidden_states(IDS, EVERY_LAYER)
        for folder in (tiny_model_folder, target)
    )
    assert all(torch.equal(true[layer], cheap[layer]) for layer in range(4))
    assert not torch.equal(true[4], cheap[4])
