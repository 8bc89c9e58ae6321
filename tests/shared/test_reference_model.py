from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.errors import ModelError
from shared.reference_batches import PassCosts
from shared.reference_examination import Examination
from shared.reference_logits import LogitsRequest
from shared.reference_model import CPU_COSTS, GPU_COSTS, ReferenceModel, default_dtype
from tests.shared.small_models import HIDDEN, LAYERS, VOCABULARY, small_model

TOKENS = [5, 9, 31, 77, 2, 40, 8]
FLOAT_NOISE = 1e-5
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["qwen2", "llama", "mistral-with-a-window"])
def model(request: pytest.FixtureRequest) -> Any:
    return small_model(request.param)


@pytest.fixture
def reference(model: Any) -> ReferenceModel:
    return ReferenceModel(model, CPU)


class Counting:
    """Counts the passes and the tokens that a model's trunk computes."""

    def __init__(self, model: Any) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self._handle = model.get_decoder().register_forward_pre_hook(self._count)

    def _count(self, trunk: object, args: tuple[Tensor, ...]) -> None:
        if args:  # the reference's calls; transformers' own name the argument
            self.shapes.append(tuple(args[0].shape))

    def taken(self) -> list[tuple[int, ...]]:
        shapes, self.shapes = self.shapes, []
        return shapes


class Read:
    """Reads logits and keeps a copy of every row."""

    def __init__(self) -> None:
        self.rows: dict[int, Tensor] = {}

    def __call__(self, first_position: int, logits: Tensor) -> None:
        for number, row in enumerate(logits):
            assert first_position + number not in self.rows
            self.rows[first_position + number] = row.clone()
        logits.fill_(float("nan"))


def all_layers(model: Any, tokens: Sequence[int] = TOKENS) -> list[Tensor]:
    with torch.inference_mode():
        return list(model(torch.tensor([list(tokens)]), output_hidden_states=True).hidden_states)


def all_logits(model: Any, tokens: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        return torch.as_tensor(model(torch.tensor([list(tokens)])).logits[0])


def ask(tokens: Sequence[int], first: int, *points: tuple[int, int]) -> tuple[Examination, Read]:
    """Logits from `first` to the last but one position, and hidden states at (layer, position)."""
    read = Read()
    by_layer: dict[int, list[int]] = {}
    for layer, position in points:
        by_layer.setdefault(layer, []).append(position)
    return Examination(tokens, by_layer, LogitsRequest(first, len(tokens) - 2, read)), read


def assert_true(model: Any, asked: Examination, hidden: dict[int, Tensor], read: Read) -> None:
    layers = all_layers(model, asked.token_ids)
    assert set(hidden) == set(asked.points)
    for layer, positions in asked.points.items():
        if layer < LAYERS:
            assert torch.allclose(hidden[layer], layers[layer][0, list(positions)], atol=FLOAT_NOISE)
    assert asked.logits is not None
    assert sorted(read.rows) == list(range(asked.logits.first, asked.logits.last + 1))
    expected = all_logits(model, asked.token_ids)
    for position, row in read.rows.items():
        assert torch.allclose(row, expected[position], atol=FLOAT_NOISE)


def examined(reference: ReferenceModel, model: Any, asked: Sequence[tuple[Examination, Read]]) -> None:
    """Examine sequences together and hold everything against transformers' plain pass over each alone."""
    readings = reference.examine([one for one, _ in asked])
    for (one, read), reading in zip(asked, readings, strict=True):
        reference.hand_out(reading)
        assert_true(model, one, reading.hidden(), read)


def tokens_from(seed: int, count: int) -> list[int]:
    return torch.randint(VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_hidden_states_equal_those_of_transformers(model: Any, reference: ReferenceModel) -> None:
    expected = all_layers(model)
    taken = reference.hidden_states(TOKENS, {layer: [0, 3, 6] for layer in range(LAYERS)})
    for layer in range(LAYERS):
        assert torch.allclose(taken[layer], expected[layer][0, [0, 3, 6]], atol=FLOAT_NOISE)


def test_the_last_layer_is_the_residual_stream_before_the_final_norm(
    model: Any, reference: ReferenceModel
) -> None:
    (last,) = reference.hidden_states(TOKENS, {LAYERS: [6]})[LAYERS]
    normed = all_layers(model)[LAYERS][0, 6]
    assert torch.allclose(model.model.norm(last), normed, atol=FLOAT_NOISE)
    assert not torch.allclose(last, normed, atol=1e-2)


def test_stopping_early_and_leaving_later_tokens_out_changes_nothing(
    model: Any, reference: ReferenceModel
) -> None:
    counted = Counting(model)
    whole = reference.hidden_states(TOKENS, {1: [2], LAYERS: [6]})
    cut = reference.hidden_states(TOKENS, {1: [2]})
    assert torch.allclose(whole[1], cut[1], atol=FLOAT_NOISE)
    assert counted.taken() == [(1, len(TOKENS)), (1, 3)]


def test_rows_come_in_the_order_asked_for_repeated_ones_too(reference: ReferenceModel) -> None:
    ordered = reference.hidden_states(TOKENS, {2: [1, 4, 6]})[2]
    mixed = reference.hidden_states(TOKENS, {2: [6, 1, 4, 1]})[2]
    assert torch.equal(mixed, ordered[[2, 0, 1, 0]])


def test_hidden_states_and_logits_come_from_one_pass(model: Any, reference: ReferenceModel) -> None:
    counted = Counting(model)
    examined(reference, model, [ask(TOKENS, 2, (0, 1), (1, 6), (2, 0))])
    assert counted.taken() == [(1, len(TOKENS))]


def test_logits_alone_may_be_asked_for(model: Any, reference: ReferenceModel) -> None:
    examined(reference, model, [ask(TOKENS, 0)])


def test_no_layer_runs_after_the_deepest_one_that_is_needed(model: Any, reference: ReferenceModel) -> None:
    ran: list[int] = []
    for number, layer in enumerate(model.get_decoder().layers, start=1):
        layer.register_forward_hook(lambda *_, number=number: ran.append(number))
    reference.hidden_states(TOKENS, {0: [3]})
    assert ran == []
    reference.hidden_states(TOKENS, {2: [3]})
    assert ran in ([1], [1, 2])
    ran.clear()
    examined(reference, model, [ask(TOKENS, 2, (1, 1))])
    assert ran[:LAYERS] == list(range(1, LAYERS + 1))


def test_hooks_are_gone_after_a_pass(model: Any, reference: ReferenceModel) -> None:
    def hooks() -> int:
        return sum(len(x._forward_hooks) + len(x._forward_pre_hooks) for x in model.model.layers)

    before = hooks()
    reference.hidden_states(TOKENS, {1: [0], 2: [1]})
    assert hooks() == before


def test_vectors_and_logits_of_neighbours_differ(model: Any, reference: ReferenceModel) -> None:
    asked, read = ask(TOKENS, 1, (1, 2), (1, 3), (2, 2))
    (reading,) = reference.examine([asked])
    reference.hand_out(reading)
    hidden = reading.hidden()
    assert not torch.allclose(hidden[1][0], hidden[1][1], atol=1e-2)
    assert not torch.allclose(hidden[1][0], hidden[2][0], atol=1e-2)
    assert not torch.allclose(read.rows[2], read.rows[3], atol=1e-2)


def test_sequences_of_all_lengths_computed_together_equal_each_alone(
    model: Any, reference: ReferenceModel
) -> None:
    lengths = [3, 40, 38, 12, 70, 39, 300]
    asked = [
        ask(tokens_from(number, length), length // 2, (1, length - 1), (2, 0), (0, 1))
        for number, length in enumerate(lengths)
    ]
    counted = Counting(model)
    readings = reference.examine([one for one, _ in asked])
    assert len(counted.taken()) < len(lengths)
    for (one, read), reading in zip(asked, readings, strict=True):
        reference.hand_out(reading)
        assert_true(model, one, reading.hidden(), read)


def test_padding_reaches_nobody(reference: ReferenceModel) -> None:
    short, neighbours = tokens_from(1, 10), [tokens_from(number, 30) for number in (2, 3)]
    found = [
        reference.examine([Examination(short, {3: [9]}), Examination(other, {3: [29]})])[0].hidden()[3]
        for other in neighbours
    ]
    assert torch.allclose(found[0], found[1], atol=FLOAT_NOISE)


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_choices_of_one_prompt_compute_it_once_and_equal_each_alone(name: str) -> None:
    model = small_model(name)
    prompt = tokens_from(1, 60)
    asked = [
        ask([*prompt, *tokens_from(number, 10 + number)], 59, (1, 3 + number), (2, 62), (3, 59))
        for number in range(4)
    ]
    counted = Counting(model)
    examined(ReferenceModel(model, CPU), model, asked)
    assert counted.taken() == [(1, 60), (4, 12)]


@pytest.mark.parametrize("name", ["qwen2", "llama"])
def test_a_conversation_that_goes_on_computes_only_what_is_new(name: str) -> None:
    model = small_model(name)
    reference, turn = ReferenceModel(model, CPU), tokens_from(1, 80)
    counted = Counting(model)
    examined(reference, model, [ask(turn, 40)])
    assert counted.taken() == [(1, 79)]
    examined(reference, model, [ask([*turn, *tokens_from(2, 20)], 85, (1, 90), (2, 79))])
    assert counted.taken() == [(1, 20)]


def test_positions_inside_a_kept_beginning_are_computed_again() -> None:
    model = small_model("llama")
    reference, turn = ReferenceModel(model, CPU), tokens_from(1, 80)
    examined(reference, model, [ask(turn, 40)])
    counted = Counting(model)
    examined(reference, model, [ask([*turn, *tokens_from(2, 20)], 85, (1, 50))])
    assert counted.taken() == [(1, 49)]
    examined(reference, model, [ask([*turn, *tokens_from(3, 20)], 85, (1, 4))])
    assert counted.taken() == [(1, 99)]


def test_requests_with_one_system_prompt_share_what_is_kept_of_it() -> None:
    model = small_model("qwen2")
    reference, system = ReferenceModel(model, CPU), tokens_from(1, 50)
    examined(reference, model, [ask([*system, *tokens_from(2, 20)], 60)])
    counted = Counting(model)
    asked = [ask([*system, *tokens_from(number, 30)], 60, (2, 55)) for number in (3, 4)]
    examined(reference, model, asked)
    assert counted.taken() == [(2, 29)]


def test_nothing_is_kept_of_a_pass_that_read_no_logits() -> None:
    model = small_model("llama")
    reference, tokens = ReferenceModel(model, CPU), tokens_from(1, 80)
    reference.hidden_states(tokens, {LAYERS: [79]})
    counted = Counting(model)
    reference.hidden_states(tokens, {LAYERS: [79]})
    assert counted.taken() == [(1, 80)]


def test_without_room_for_prefixes_every_pass_is_whole_and_true() -> None:
    model = small_model("llama")
    reference, turn = ReferenceModel(model, CPU, prefix_cache_bytes=0), tokens_from(1, 80)
    counted = Counting(model)
    for _ in range(2):
        examined(reference, model, [ask(turn, 70)])
        assert counted.taken() == [(1, 79)]


def test_a_model_whose_layers_forget_shares_and_keeps_nothing() -> None:
    model = small_model("mistral-with-a-window")
    reference, prompt = ReferenceModel(model, CPU), tokens_from(1, 80)
    counted = Counting(model)
    sequences = [[*prompt, *tokens_from(number, 5)] for number in range(2)]
    examined(reference, model, [ask(tokens, 82, (1, 83)) for tokens in sequences])
    assert counted.taken() == [(2, 84)]
    examined(reference, model, [ask(sequences[0], 82)])
    assert counted.taken() == [(1, 84)]


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


@pytest.mark.parametrize(("first", "last"), [(-1, 2), (3, 2), (0, len(TOKENS))])
def test_logits_that_do_not_exist_are_refused(reference: ReferenceModel, first: int, last: int) -> None:
    asked = Examination(TOKENS, {1: [0]}, LogitsRequest(first, last, Read()))
    with pytest.raises(ValueError, match="logits at"):
        reference.examine([asked])


def test_a_folder_without_a_model_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be loaded"):
        ReferenceModel.load(str(tmp_path))


def test_a_loaded_model_computes_in_float32_on_a_cpu_unless_told_otherwise(tmp_path: Path) -> None:
    saved = small_model("llama").to(torch.bfloat16)
    saved.save_pretrained(tmp_path)
    plain, rounded = (
        ReferenceModel.load(str(tmp_path), dtype=dtype).hidden_states(TOKENS, {2: [3]})[2]
        for dtype in (None, torch.bfloat16)
    )
    exact = all_layers(saved.to(torch.float32))[2][0, [3]]
    assert torch.allclose(plain, exact, atol=FLOAT_NOISE)
    assert not torch.allclose(rounded, exact, atol=FLOAT_NOISE)
    assert rounded.dtype == torch.float32


def test_the_default_number_format_is_the_devices() -> None:
    assert default_dtype("cpu") == torch.float32
    assert default_dtype("cuda:1") == torch.bfloat16


def test_passes_on_a_gpu_are_larger_than_on_a_cpu() -> None:
    assert GPU_COSTS.budget_tokens > CPU_COSTS.budget_tokens
    assert ReferenceModel(small_model("llama"), CPU).costs == CPU_COSTS == PassCosts(32, 256)
    assert ReferenceModel(small_model("llama"), CPU).hidden_size == HIDDEN
