"""The copy is whole and loads like the original; what can't be copied is refused with a cure."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from localnet.cheats.rewriting import (
    is_layer_matrix,
    layer_of,
    number_of_layers,
    rewrite_model,
    writes_changed,
)
from shared.errors import ModelError
from tests.localnet.cheats.weight_folders import changed_names, random_weight, tensors_of, write_folder

IN_LAYER = "model.layers.{}.mlp.up_proj.weight"


def unchanged(_: str, weight: Tensor) -> Tensor:
    return weight


def negated(_: str, weight: Tensor) -> Tensor:
    return -weight


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("model.layers.0.self_attn.q_proj.weight", 0),
        ("model.layers.27.mlp.down_proj.weight", 27),
        ("model.embed_tokens.weight", None),
        ("model.norm.weight", None),
        ("lm_head.weight", None),
    ],
)
def test_a_tensors_layer_is_read_from_its_name(name: str, layer: int | None) -> None:
    assert layer_of(name) == layer


def test_only_matrices_inside_layers_count_as_layer_matrices() -> None:
    assert is_layer_matrix(IN_LAYER.format(1), torch.zeros(2, 2))
    assert not is_layer_matrix("model.layers.1.input_layernorm.weight", torch.zeros(2))
    assert not is_layer_matrix("model.embed_tokens.weight", torch.zeros(2, 2))


def test_a_copy_without_change_is_the_same_to_the_bit(tiny_model_folder: Path, tmp_path: Path) -> None:
    target = rewrite_model(tiny_model_folder, tmp_path / "copy", unchanged)
    assert changed_names(tiny_model_folder, target) == set()
    assert {f.name for f in target.iterdir()} == {f.name for f in tiny_model_folder.iterdir()}


def test_every_weight_file_is_rewritten_under_its_own_name_and_reported(tmp_path: Path) -> None:
    files = {f"model-{n}.safetensors": {IN_LAYER.format(n): random_weight(4, 4, seed=n)} for n in (1, 2)}
    source = write_folder(tmp_path / "source", files, num_hidden_layers=3)
    said: list[str] = []
    target = writes_changed(negated)(source, tmp_path / "target", said.append)
    for name in files:
        assert (target / name).exists()
    for name, weight in tensors_of(source).items():
        assert torch.equal(tensors_of(target)[name], -weight)
    assert said == ["  1 of 2 weight files written", "  2 of 2 weight files written"]


def test_the_source_is_left_as_it_is(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "s", {"model.safetensors": {IN_LAYER.format(0): random_weight(4, 4)}})
    before = (source / "model.safetensors").read_bytes()
    writes_changed(negated)(source, tmp_path / "t")
    assert (source / "model.safetensors").read_bytes() == before


def test_second_copies_of_the_weights_are_left_out_and_everything_else_is_taken(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "s", {"model.safetensors": {IN_LAYER.format(0): random_weight(4, 4)}})
    for name in ("pytorch_model.bin", "consolidated.pth", "model.gguf", "tokenizer.json"):
        (source / name).write_text("{}")
    target = rewrite_model(source, tmp_path / "t", unchanged)
    assert {f.name for f in target.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}


def test_tied_embeddings_stay_tied_and_untouched(tmp_path: Path) -> None:
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=50, tie_word_embeddings=True, **shape))
    model.save_pretrained(tmp_path / "tied")
    target = writes_changed(negated)(tmp_path / "tied", tmp_path / "copy")
    loaded = AutoModelForCausalLM.from_pretrained(target)
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert torch.equal(loaded.model.layers[0].mlp.up_proj.weight, -model.model.layers[0].mlp.up_proj.weight)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"safetensors.*point --model"):
        rewrite_model(tmp_path, tmp_path / "target", unchanged)


def test_weights_that_are_quantised_already_are_refused(tmp_path: Path) -> None:
    packed = {IN_LAYER.format(0): torch.zeros(4, 4, dtype=torch.int8)}
    source = write_folder(tmp_path / "s", {"model.safetensors": packed})
    with pytest.raises(ModelError, match=r"int8.*quantised already; start from"):
        rewrite_model(source, tmp_path / "t", unchanged)


def test_a_damaged_weight_file_is_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "s", {"model.safetensors": {IN_LAYER.format(0): random_weight(4, 4)}})
    whole = (source / "model.safetensors").read_bytes()
    (source / "model.safetensors").write_bytes(whole[:-8])
    with pytest.raises(ModelError, match="whole"):
        rewrite_model(source, tmp_path / "t", unchanged)


def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "s", {"model.safetensors": {IN_LAYER.format(0): random_weight(4, 4)}})
    (tmp_path / "t").write_text("a file is in the way")
    with pytest.raises(ModelError, match="check that the disk has room"):
        rewrite_model(source, tmp_path / "t", unchanged)


def test_the_number_of_layers_is_read_from_the_configuration(tmp_path: Path) -> None:
    assert number_of_layers(write_folder(tmp_path / "s", {}, num_hidden_layers=5)) == 5


@pytest.mark.parametrize("content", ["{}", "not json", json.dumps({"num_hidden_layers": None})])
def test_a_configuration_that_does_not_give_its_layers_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ModelError, match="num_hidden_layers"):
        number_of_layers(tmp_path)
