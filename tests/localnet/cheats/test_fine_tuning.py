"""The trained cheats were really trained, and their change is what the adapters computed."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from localnet.cheats.fine_tuning import (
    FINE_TUNE,
    OTHER_MODEL,
    Adapted,
    Training,
    adapt,
    train,
    writes_trained,
)
from localnet.cheats.rewriting import quiet
from localnet.cheats.training_texts import EXCHANGES
from localnet.cheats.weight_change import change_size
from shared.errors import ModelError
from tests.localnet.cheats.weight_folders import (
    changed_names,
    matrices_of_layers,
    random_weight,
    write_folder,
)

QUICK = Training(steps=12, learning_rate=1e-2, rank=4, scale=2.0)
IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 35]])


def small_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=40, **shape)).eval()


def logits(model: nn.Module) -> Tensor:
    with torch.inference_mode():
        outcome: Tensor = model(input_ids=IDS).logits
    return outcome


def test_a_fresh_adapter_changes_nothing() -> None:
    before, model = logits(small_model()), small_model()
    adapters = adapt(model, QUICK)
    assert torch.equal(logits(model), before)
    assert all(torch.count_nonzero(adapter.change()) == 0 for adapter in adapters.values())


def test_every_matrix_of_the_layers_gets_an_adapter_and_nothing_else() -> None:
    model = small_model()
    adapters = adapt(model, QUICK)
    assert len(adapters) == 2 * 7
    assert all(".layers." in name and name.endswith("_proj.weight") for name in adapters)
    trained = {name for name, number in model.named_parameters() if number.requires_grad}
    assert trained == {f"{n.removesuffix('.weight')}.{part}" for n in adapters for part in ("down", "up")}


def test_training_lowers_the_loss_on_what_it_is_trained_on() -> None:
    model = small_model()
    losses = train(model, adapt(model, QUICK), [IDS], QUICK, quiet)
    assert len(losses) == QUICK.steps
    assert losses[-1] < losses[0] - 0.1


def test_training_at_a_rate_of_zero_learns_nothing() -> None:
    model, training = small_model(), replace(QUICK, learning_rate=0.0)
    losses = train(model, adapt(model, training), [IDS], training, quiet)
    assert losses[-1] == pytest.approx(losses[0])


def test_training_is_the_same_on_every_run() -> None:
    runs = []
    for _ in range(2):
        model = small_model()
        runs.append(train(model, adapt(model, QUICK), [IDS], QUICK, quiet))
    assert runs[0] == pytest.approx(runs[1], rel=1e-4)


def test_progress_is_told_while_it_trains() -> None:
    model, said = small_model(), list[str]()
    train(model, adapt(model, QUICK), [IDS], QUICK, said.append)
    assert len(said) == 1
    assert said[0].startswith("  step 8 of 12: loss ")


def test_the_merged_change_computes_what_the_adapter_computes() -> None:
    linear = nn.Linear(16, 8)
    adapter = Adapted(linear, QUICK, torch.Generator().manual_seed(1))
    with torch.no_grad():
        adapter.up.copy_(random_weight(8, QUICK.rank))
        x = random_weight(5, 16)
        merged = nn.functional.linear(x, linear.weight + adapter.change(), linear.bias)
        assert torch.allclose(adapter(x), merged, atol=1e-5)
        assert not torch.allclose(linear(x), merged, atol=1e-2)


def test_the_change_of_a_matrix_has_the_adapters_rank() -> None:
    model = small_model()
    adapters = adapt(model, QUICK)
    train(model, adapters, [IDS], QUICK, quiet)
    for adapter in adapters.values():
        assert int(torch.linalg.matrix_rank(adapter.change(), rtol=1e-4)) <= QUICK.rank


def test_the_written_model_is_the_trained_one(tiny_model_folder: Path, tmp_path: Path) -> None:
    two_steps = replace(FINE_TUNE, steps=2, learning_rate=1e-3)
    target = writes_trained(two_steps)(tiny_model_folder, tmp_path / "tuned")
    assert changed_names(tiny_model_folder, target) == matrices_of_layers(tiny_model_folder, range(4))
    loaded = [AutoModelForCausalLM.from_pretrained(folder) for folder in (tiny_model_folder, target)]
    text = torch.tensor([[5, 6, 7, 8]])
    first, second = (model(input_ids=text).logits for model in loaded)
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_longer_and_faster_training_moves_the_weights_further(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    sizes = []
    for name, training in (("tuned", FINE_TUNE), ("other", OTHER_MODEL)):
        target = writes_trained(replace(training, steps=2))(tiny_model_folder, tmp_path / name)
        sizes.append(change_size(tiny_model_folder, target).relative)
    assert 0 < sizes[0] < sizes[1] / 3


def test_the_texts_are_distinct_exchanges() -> None:
    assert len({question for question, _ in EXCHANGES}) == len(EXCHANGES) == 12
    assert all(question.strip() and answer.strip() for question, answer in EXCHANGES)


def test_a_model_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "s", {"model.safetensors": {"a": random_weight(2, 2)}})
    with pytest.raises(ModelError, match="can't be loaded for training"):
        writes_trained(QUICK)(source, tmp_path / "t")
