from pathlib import Path

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from shared.errors import ModelError
from shared.reference_model import ReferenceModel

LAYERS, HIDDEN, VOCABULARY = 3, 64, 100
TOKENS = [5, 9, 31, 77, 2, 40, 8]


@pytest.fixture(scope="module")
def model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=96,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    return Qwen2ForCausalLM(config).eval()


@pytest.fixture(scope="module")
def reference(model: Qwen2ForCausalLM) -> ReferenceModel:
    return ReferenceModel(model, torch.device("cpu"))


def all_layers(model: Qwen2ForCausalLM) -> list[torch.Tensor]:
    with torch.inference_mode():
        return list(model(torch.tensor([TOKENS]), output_hidden_states=True).hidden_states)


def test_hidden_states_equal_those_of_transformers(
    model: Qwen2ForCausalLM, reference: ReferenceModel
) -> None:
    expected = all_layers(model)
    taken = reference.hidden_states(TOKENS, {layer: [0, 3, 6] for layer in range(LAYERS)})
    for layer in range(LAYERS):
        assert torch.allclose(taken[layer], expected[layer][0, [0, 3, 6]], atol=1e-5)


def test_the_last_layer_is_the_residual_stream_before_the_final_norm(
    model: Qwen2ForCausalLM, reference: ReferenceModel
) -> None:
    (last,) = reference.hidden_states(TOKENS, {LAYERS: [6]})[LAYERS]
    normed = all_layers(model)[LAYERS][0, 6]
    assert torch.allclose(model.model.norm(last), normed, atol=1e-5)
    assert not torch.allclose(last, normed, atol=1e-2)


def test_stopping_early_and_leaving_later_tokens_out_changes_no_bit(reference: ReferenceModel) -> None:
    whole = reference.hidden_states(TOKENS, {1: [2], LAYERS: [6]})
    cut = reference.hidden_states(TOKENS[:3], {1: [2]})
    assert torch.allclose(whole[1], cut[1], atol=1e-6)


def test_hooks_are_gone_after_a_pass(model: Qwen2ForCausalLM, reference: ReferenceModel) -> None:
    def hooks() -> int:
        return sum(len(x._forward_hooks) + len(x._forward_pre_hooks) for x in model.model.layers)

    before = hooks()
    reference.hidden_states(TOKENS, {1: [0], 2: [1]})
    assert hooks() == before


def test_vectors_of_neighbouring_tokens_and_layers_differ(reference: ReferenceModel) -> None:
    taken = reference.hidden_states(TOKENS, {1: [2, 3], 2: [2]})
    assert not torch.allclose(taken[1][0], taken[1][1], atol=1e-2)
    assert not torch.allclose(taken[1][0], taken[2][0], atol=1e-2)


@pytest.mark.parametrize(
    ("tokens", "points"),
    [
        (TOKENS, {LAYERS + 1: [0]}),
        (TOKENS, {-1: [0]}),
        (TOKENS, {1: [len(TOKENS)]}),
        (TOKENS, {1: [-1]}),
        (TOKENS, {}),
        (TOKENS, {1: []}),
        ([VOCABULARY], {1: [0]}),
        ([-1], {1: [0]}),
    ],
)
def test_points_and_tokens_that_do_not_exist_are_refused(
    reference: ReferenceModel, tokens: list[int], points: dict[int, list[int]]
) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  each case has its own words
        reference.hidden_states(tokens, points)


def test_a_folder_without_a_model_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be loaded"):
        ReferenceModel.load(str(tmp_path))
