"""What the calibration file that ships for the demo model tells apart."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from localnet.cheats import write_int4_model
from localnet.config import PROJECT_ROOT
from localnet.demo_model import DEMO_MODEL
from shared.calibration import Calibration, HonestNoise, read_calibration
from shared.model_identity import model_digest
from shared.reference_model import ReferenceModel
from shared.sketches import cosine_distance, sketch
from validator.calibration_prompts import calibration_chats
from validator.calibration_statistics import tokenise_chats
from validator.challenge_selection import MIN_POINTS
from validator.prompt_rendering import load_tokenizer

SHIPPED = PROJECT_ROOT / "localnet" / "calibration" / f"{DEMO_MODEL}.calibration"
CHATS = 6
LAYERS = (4, 18, 24, 30)


@lru_cache(maxsize=1)
def calibration() -> tuple[Calibration, HonestNoise]:
    found = read_calibration(SHIPPED)
    assert found.header.noise is not None
    return found, found.header.noise


@pytest.fixture(scope="module")
def texts(demo_model_folder: Path) -> list[list[int]]:
    torch.set_num_threads(1)
    return tokenise_chats(load_tokenizer(str(demo_model_folder)), calibration_chats()[2 : 2 + CHATS])


@pytest.fixture(scope="module")
def truth(demo_model_folder: Path, texts: list[list[int]]) -> list[dict[int, Tensor]]:
    return states_of(ReferenceModel.load(str(demo_model_folder)), texts)


def states_of(model: ReferenceModel, texts: list[list[int]]) -> list[dict[int, Tensor]]:
    """Hidden states in the layers of LAYERS, at MIN_POINTS positions of each text."""
    found = []
    for ids in texts:
        positions = [len(ids) * (number + 1) // (MIN_POINTS + 2) for number in range(MIN_POINTS)]
        found.append(model.hidden_states(ids, dict.fromkeys(LAYERS, positions)))
    return found


def scores(states: list[dict[int, Tensor]], truth: list[dict[int, Tensor]]) -> list[float]:
    """One audit's score for each text: a point in each layer, each at another position."""
    known, noise = calibration()

    def ratio(theirs: dict[int, Tensor], ours: dict[int, Tensor], number: int) -> float:
        layer = LAYERS[number]
        pair = [sketch(one[layer][number], *known.layer(layer)) for one in (theirs, ours)]
        return cosine_distance(*pair) / noise.layer_scale[layer - 1]

    return [
        sum(ratio(theirs, ours, number) for number in range(MIN_POINTS)) / MIN_POINTS
        for theirs, ours in zip(states, truth, strict=True)
    ]


def rewritten(source: Path, target: Path, change: Callable[[str, Tensor], Tensor]) -> Path:
    """A copy of the model with changed weights."""
    write_int4_model(source, target)
    tensors = load_file(source / "model.safetensors")
    changed = {name: change(name, weight).contiguous() for name, weight in tensors.items()}
    save_file(changed, target / "model.safetensors", metadata={"format": "pt"})
    return target


def test_the_file_is_the_demo_models(demo_model_folder: Path) -> None:
    header = calibration()[0].header
    assert header.model == DEMO_MODEL
    assert header.model_digest == model_digest(demo_model_folder)


def test_held_out_honest_audits_raised_no_alarm() -> None:
    noise = calibration()[1]
    assert noise.held_out_requests >= 40
    assert noise.held_out_false_alarms == 0
    assert noise.held_out_highest < noise.audit_limit


def test_honest_bfloat16_lies_far_below_the_limit(
    demo_model_folder: Path, texts: list[list[int]], truth: list[dict[int, Tensor]]
) -> None:
    engine = ReferenceModel.load(str(demo_model_folder), dtype=torch.bfloat16)
    found = scores(states_of(engine, texts), truth)
    assert max(found) < calibration()[1].audit_limit
    assert sum(found) / len(found) < calibration()[1].audit_limit / 2


def test_four_bit_weights_lie_far_above_the_limit(
    demo_model_folder: Path, texts: list[list[int]], truth: list[dict[int, Tensor]], tmp_path: Path
) -> None:
    folder = write_int4_model(demo_model_folder, tmp_path / "rounded")
    found = scores(states_of(ReferenceModel.load(str(folder), dtype=torch.bfloat16), texts), truth)
    assert min(found) > 10 * calibration()[1].audit_limit


def test_a_percent_of_noise_on_every_weight_lies_above_the_limit(
    demo_model_folder: Path, texts: list[list[int]], truth: list[dict[int, Tensor]], tmp_path: Path
) -> None:
    generator = torch.Generator().manual_seed(4)

    def noisy(_: str, weight: Tensor) -> Tensor:
        return (weight.float() * (1 + 0.01 * torch.randn(weight.shape, generator=generator))).to(weight.dtype)

    folder = rewritten(demo_model_folder, tmp_path / "noisy", noisy)
    found = scores(states_of(ReferenceModel.load(str(folder), dtype=torch.bfloat16), texts), truth)
    assert sum(found) / len(found) > calibration()[1].audit_limit
