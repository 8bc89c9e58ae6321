from pathlib import Path

import pytest
import torch
from torch import Tensor

from miners.errors import SelfTestFailed
from miners.self_test import POSITIONS, SelfTestReference, check_replay, compared_layers, compute_reference
from shared.calibration import Calibration
from shared.calibration_header import CalibrationHeader
from shared.errors import MalformedMessage, ModelError
from shared.honest_noise import MARGIN_EDGES, HonestMargins, HonestNoise, HonestTail

LAYERS, HIDDEN = 4, 256


@pytest.fixture(scope="module")
def reference(tiny_model_folder: Path) -> SelfTestReference:
    return compute_reference(str(tiny_model_folder), "cpu", torch.float32)


def calibration(reference: SelfTestReference, with_noise: bool = True) -> Calibration:
    """Statistics over the reference's own vectors; honest distances as bfloat16 rounding makes them."""
    tail = HonestTail(quantiles=(1.0, 1.5, 2.0, 2.5, 3.0), exponent=8.0)
    noise = HonestNoise(
        position_bands=(),
        scale=((1e-5,),) * LAYERS,
        points=32,
        typical=tail,
        mean=tail,
        replay=tail,
        margins=HonestMargins(
            scale=0.03,
            exponent=2.0,
            above=tuple(0.02 / 2**n for n in range(len(MARGIN_EDGES))),
            tokens=1000,
        ),
        fitted_requests=1,
        conditions=(),
    )
    header = CalibrationHeader(
        model="tiny",
        model_digest="0" * 64,
        num_layers=LAYERS,
        hidden_size=HIDDEN,
        reference="test",
        statistics_tokens=1,
        noise=noise if with_noise else None,
    )
    scale = torch.stack([reference.layers[layer].std() for layer in range(1, LAYERS + 1)])
    return Calibration(header, torch.zeros(LAYERS, HIDDEN), scale.unsqueeze(1).repeat(1, HIDDEN))


def as_bytes(vector: Tensor) -> bytes:
    return vector.to(torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes()


def honest(reference: SelfTestReference) -> list[Tensor]:
    return [reference.vector(point) for point in reference.points]


def noisy(reference: SelfTestReference, share: float) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    return [
        vector + share * vector.std() * torch.randn(HIDDEN, generator=generator)
        for vector in honest(reference)
    ]


def test_the_reference_covers_first_and_last_layer_at_several_positions(reference: SelfTestReference) -> None:
    assert sorted(reference.layers) == [1, 2, 3, 4]
    assert len(reference.positions) == POSITIONS == len(set(reference.positions))
    assert all(len(reference.token_ids) // 2 < p < len(reference.token_ids) for p in reference.positions)


@pytest.mark.parametrize(
    ("num_layers", "expected"), [(1, [1]), (2, [1, 2]), (28, [1, 7, 14, 21, 28]), (30, [1, 7, 15, 22, 30])]
)
def test_layers_are_spread_over_the_depth(num_layers: int, expected: list[int]) -> None:
    assert compared_layers(num_layers) == expected


@pytest.mark.parametrize("with_noise", [True, False])
def test_honest_rounding_passes(reference: SelfTestReference, with_noise: bool) -> None:
    vectors = [as_bytes(vector) for vector in honest(reference)]
    assert "allowed" in check_replay(reference, vectors, calibration(reference, with_noise))


def neighbours(vectors: list[Tensor]) -> list[Tensor]:
    return [*vectors[1:], vectors[0]]


@pytest.mark.parametrize("with_noise", [True, False])
@pytest.mark.parametrize("wrong", ["neighbour", "next layer", "random", "zero", "half of the width swapped"])
def test_vectors_of_something_else_fail_with_likely_causes(
    reference: SelfTestReference, with_noise: bool, wrong: str
) -> None:
    vectors = honest(reference)
    changed = {
        "neighbour": neighbours(vectors),
        "next layer": [*vectors[POSITIONS:], *vectors[:POSITIONS]],
        "random": [torch.randn(HIDDEN, generator=torch.Generator().manual_seed(1))] * len(vectors),
        "zero": [torch.zeros(HIDDEN)] * len(vectors),
        "half of the width swapped": [vector.roll(HIDDEN // 2) for vector in vectors],
    }[wrong]
    with pytest.raises(SelfTestFailed, match="Likely causes: --quantization"):
        check_replay(reference, [as_bytes(v) for v in changed], calibration(reference, with_noise))


def test_honest_noise_in_the_calibration_sees_what_raw_cosine_does_not(reference: SelfTestReference) -> None:
    vectors = [as_bytes(vector) for vector in noisy(reference, 0.03)]
    check_replay(reference, vectors, calibration(reference, with_noise=False))
    with pytest.raises(SelfTestFailed, match="times what honest engines show"):
        check_replay(reference, vectors, calibration(reference))


def test_a_bfloat16_reference_is_allowed_more(reference: SelfTestReference) -> None:
    vectors = [as_bytes(vector) for vector in noisy(reference, 0.013)]
    with pytest.raises(SelfTestFailed):
        check_replay(reference, vectors, calibration(reference))
    rounded = SelfTestReference(reference.token_ids, reference.positions, reference.layers, "bfloat16")
    check_replay(rounded, vectors, calibration(reference))


def test_nan_is_not_a_vector(reference: SelfTestReference) -> None:
    vectors = [as_bytes(torch.full((HIDDEN,), float("nan")))] * len(reference.points)
    with pytest.raises(MalformedMessage, match="NaN"):
        check_replay(reference, vectors, calibration(reference))


def test_a_reference_survives_its_file(reference: SelfTestReference, tmp_path: Path) -> None:
    file = tmp_path / "reference.safetensors"
    reference.write(file)
    back = SelfTestReference.read(file)
    assert back is not None
    assert (back.token_ids, back.positions, back.dtype) == (
        reference.token_ids,
        reference.positions,
        "float32",
    )
    assert all(torch.equal(back.layers[layer], reference.layers[layer]) for layer in reference.layers)


@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_missing_or_damaged_file_is_no_reference(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "reference.safetensors"
    if content is not None:
        file.write_bytes(content)
    assert SelfTestReference.read(file) is None


def test_a_model_that_is_not_there_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be loaded"):
        compute_reference(str(tmp_path), "cpu", torch.float32)
