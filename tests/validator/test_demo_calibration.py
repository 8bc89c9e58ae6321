"""What the calibration file that ships for the demo model tells apart.

Weights are changed in memory and computed by transformers in bfloat16, as the cheats' engines would.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from localnet.cheats.noise import with_noise
from localnet.cheats.rewriting import is_layer_matrix
from localnet.cheats.rounding import round_to_int4, round_to_int8
from localnet.config import PROJECT_ROOT
from localnet.demo_model import DEMO_MODEL
from shared.calibration import Calibration, read_calibration
from shared.honest_noise import HonestNoise
from shared.model_identity import model_digest
from shared.reference_model import ReferenceModel
from shared.sketches import cosine_distance, sketch
from validator.calibration_prompts import calibration_chats
from validator.calibration_statistics import tokenise_chats
from validator.evidence import FAIL_P_VALUE, log_e_value, weigh
from validator.model_tokenizer import load_tokenizer
from validator.verdicts import Evidence
from validator.verification import score_ratios

SHIPPED = PROJECT_ROOT / "localnet" / "calibration" / f"{DEMO_MODEL}.calibration"
CHATS = 8
LAYERS = (4, 10, 16, 18, 22, 24, 28, 30)
POSITIONS_EACH = 4
"""Eight layers at four positions each: as many points as an audit opens."""

States = list[dict[int, Tensor]]

needs_noise = pytest.mark.skipif(
    read_calibration(SHIPPED).header.noise is None,
    reason="the shipped file holds no honest noise yet; add it with validator.calibrate --stage noise",
)


@lru_cache(maxsize=1)
def calibration() -> Calibration:
    return read_calibration(SHIPPED)


def noise() -> HonestNoise:
    found = calibration().header.noise
    assert found is not None
    return found


@pytest.fixture(scope="module")
def texts(demo_model_folder: Path) -> list[list[int]]:
    torch.set_num_threads(1)
    return tokenise_chats(load_tokenizer(str(demo_model_folder)), calibration_chats()[2 : 2 + CHATS])


@pytest.fixture(scope="module")
def truth(demo_model_folder: Path, texts: list[list[int]]) -> States:
    return states_of(ReferenceModel.load(str(demo_model_folder)), texts)


def positions_of(ids: Sequence[int]) -> list[int]:
    return [len(ids) * (number + 1) // (POSITIONS_EACH + 2) for number in range(POSITIONS_EACH)]


def states_of(model: ReferenceModel, texts: list[list[int]]) -> States:
    """Hidden states in LAYERS at some positions of each text."""
    return [model.hidden_states(ids, dict.fromkeys(LAYERS, positions_of(ids))) for ids in texts]


def engine(folder: Path, change: Callable[[str, Tensor], Tensor] | None = None) -> ReferenceModel:
    """The demo model in bfloat16, the matrices of its layers changed."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    if change is not None:
        for name, weight in model.named_parameters():
            if is_layer_matrix(name, weight):
                weight.data = change(name, weight.data)
    return ReferenceModel(model.eval(), torch.device("cpu"))


def audits(states: States, truth: States, texts: list[list[int]]) -> list[list[Evidence]]:
    """What an audit of each text weighs its hidden states as."""
    found = []
    for theirs, ours, ids in zip(states, truth, texts, strict=True):
        ratios = [
            _distance(theirs[layer][row], ours[layer][row], layer) / noise().scale_at(layer, position)
            for layer in LAYERS
            for row, position in enumerate(positions_of(ids))
        ]
        typical, mean = score_ratios(ratios)
        found.append([weigh(noise(), "typical", typical), weigh(noise(), "mean", mean)])
    return found


def _distance(theirs: Tensor, ours: Tensor, layer: int) -> float:
    statistics = calibration().layer(layer)
    return max(0.0, cosine_distance(sketch(theirs, *statistics), sketch(ours, *statistics)))


def rarest(evidence: Sequence[Evidence]) -> float:
    return min(one.p_value for one in evidence)


def total_log_e(found: Sequence[Sequence[Evidence]]) -> float:
    return math.fsum(log_e_value(evidence) for evidence in found)


def test_the_file_is_the_demo_models(demo_model_folder: Path) -> None:
    header = calibration().header
    assert header.model == DEMO_MODEL
    assert header.model_digest == model_digest(demo_model_folder)
    assert POSITIONS_EACH * len(LAYERS) == 32


@needs_noise
def test_held_out_honest_audits_raised_no_alarm_under_any_condition() -> None:
    assert {one.condition for one in noise().conditions} >= {"eager", "compiled", "chunked"}
    for one in noise().conditions:
        assert one.held_out_requests >= 16
        assert one.false_alarms == 0
        assert one.exact_tokens > 0.9


@needs_noise
def test_honest_bfloat16_passes_and_speaks_for_the_miner(
    demo_model_folder: Path, texts: list[list[int]], truth: States
) -> None:
    found = audits(states_of(engine(demo_model_folder), texts), truth, texts)
    assert min(map(rarest, found)) >= FAIL_P_VALUE
    assert total_log_e(found) < 0


@needs_noise
def test_four_bit_weights_fail_every_audit(
    demo_model_folder: Path, texts: list[list[int]], truth: States
) -> None:
    cheat = engine(demo_model_folder, lambda _, weight: round_to_int4(weight))
    found = audits(states_of(cheat, texts), truth, texts)
    assert max(map(rarest, found)) < FAIL_P_VALUE
    assert total_log_e(found) > CHATS * 10


@needs_noise
@pytest.mark.parametrize(
    "change",
    [lambda _, weight: round_to_int8(weight), lambda name, weight: with_noise(name, weight, 0.01)],
    ids=["eight-bit weights", "a percent of noise on every weight"],
)
def test_slight_cheats_speak_against_the_miner_in_the_long_run(
    change: Callable[[str, Tensor], Tensor], demo_model_folder: Path, texts: list[list[int]], truth: States
) -> None:
    found = audits(states_of(engine(demo_model_folder, change), texts), truth, texts)
    assert total_log_e(found) > 0
