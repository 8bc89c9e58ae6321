"""The self-test: does the engine compute what the reference computes?

The reference's half runs in a process of its own (`python -m miners.self_test`), so that its memory is free
again before the engine starts.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from miners.errors import SelfTestFailed
from shared.calibration import Calibration
from shared.challenges import ReplayPoint
from shared.errors import ModelError
from shared.machine_facts import available_memory_bytes
from shared.reference_model import ReferenceModel
from shared.sketches import bfloat16_from_bytes, cosine_distance, standardise

VERSION = "self-test/1"

PROMPT = (
    "A lighthouse keeper writes down the weather three times a day. This morning the wind came from the "
    "north-west at 14 knots, the sea was moderate, and two fishing boats passed inside the reef."
)
"""Ordinary text: the calibration's honest distances were measured on ordinary text."""

POSITIONS = 4
"""Positions compared, spread over the second half of the prompt."""

RAW_COSINE_FLOOR = 0.99
"""Bound without honest noise in the calibration. Measured with SmolLM2-135M at layer 18: honest bfloat16
0.99994, another system prompt 0.9988, 4-bit weights 0.966, a missing layer 0.965."""

ACCEPTED_P_VALUE = 1e-4
"""The self-test fails where fewer honest replays than this are as far from the reference."""

BFLOAT16_REFERENCE_FACTOR = 3.0
"""Allowance for a bfloat16 reference, whose own rounding adds to the engine's: distances are squares of
angles, so equal and independent noise doubles them; one more for chance."""


@dataclass(frozen=True)
class SelfTestReference:
    """The reference's hidden states: by layer float32 [POSITIONS, hidden_size]."""

    token_ids: list[int]
    positions: list[int]
    layers: dict[int, Tensor]
    dtype: str

    @property
    def points(self) -> list[ReplayPoint]:
        """All points, layer by layer."""
        return [ReplayPoint(position=p, layer=layer) for layer in sorted(self.layers) for p in self.positions]

    def vector(self, point: ReplayPoint) -> Tensor:
        """The reference's hidden vector at a point, [hidden_size]."""
        return self.layers[point.layer][self.positions.index(point.position)]

    def write(self, file: Path) -> None:
        """Write the file in one step."""
        facts = {"version": VERSION, "dtype": self.dtype}
        places = {"token_ids": self.token_ids, "positions": self.positions}
        tensors = {f"layer.{layer}": vectors.contiguous() for layer, vectors in self.layers.items()}
        partial = file.with_name(file.name + ".partial")
        partial.write_bytes(safetensors.torch.save(tensors, {"self_test": json.dumps(facts | places)}))
        partial.replace(file)

    @classmethod
    def read(cls, file: Path) -> "SelfTestReference | None":
        """A reference from a file; None when it is missing, damaged or of another version."""
        try:
            with safe_open(file, "pt") as data:
                facts = json.loads(data.metadata()["self_test"])
                layers = {int(name.removeprefix("layer.")): data.get_tensor(name) for name in data.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        if facts.get("version") != VERSION:
            return None
        return cls(facts["token_ids"], facts["positions"], layers, facts["dtype"])


def compared_layers(num_layers: int) -> list[int]:
    """Layers compared: the first, the quarters and the last."""
    return sorted({1, *(max(1, num_layers * quarter // 4) for quarter in (1, 2, 3, 4))})


def compute_reference(model: str, device: str, dtype: torch.dtype) -> SelfTestReference:
    """Run the reference model over the prompt.

    Raises:
        ModelError: the model or its tokenizer can't be loaded.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise ModelError(f"the tokenizer of {model} can't be loaded: {error}") from None
    token_ids = [int(token) for token in tokenizer(PROMPT)["input_ids"]]
    step = max(1, len(token_ids) // (2 * POSITIONS))
    positions = list(range(len(token_ids) - 1, len(token_ids) // 2, -step))[:POSITIONS]
    reference = ReferenceModel.load(model, device, dtype)
    layers = reference.hidden_states(
        token_ids, dict.fromkeys(compared_layers(reference.num_layers), positions)
    )
    return SelfTestReference(token_ids, positions, layers, str(dtype).removeprefix("torch."))


def check_replay(reference: SelfTestReference, vectors: Sequence[bytes], calibration: Calibration) -> str:
    """Compare the engine's vectors, one for each of `reference.points`, with the reference's.

    Returns:
        the comparison in words, for the log.

    Raises:
        SelfTestFailed: they disagree.
        MalformedMessage: a vector holds NaN or infinity.
    """
    size = calibration.header.hidden_size
    pairs = [
        (point, bfloat16_from_bytes(vector, size), reference.vector(point))
        for point, vector in zip(reference.points, vectors, strict=True)
    ]
    noise = calibration.header.noise
    if noise is None:
        return _check_raw(pairs)
    limit = noise.replay.score_at(ACCEPTED_P_VALUE)
    limit *= 1.0 if reference.dtype == "float32" else BFLOAT16_REFERENCE_FACTOR
    ratios = [
        _standardised_distance(point.layer, ours, theirs, calibration)
        / noise.scale_at(point.layer, point.position)
        for point, ours, theirs in pairs
    ]
    mean = sum(ratios) / len(ratios)
    if mean > limit:
        raise _disagreement(
            f"distances are {mean:.1f} times what honest engines show; {limit:.1f} is allowed"
        )
    return f"distances are {mean:.2f} times what honest engines show; {limit:.2f} is allowed"


def _check_raw(pairs: Sequence[tuple[ReplayPoint, Tensor, Tensor]]) -> str:
    layer, cosine = min(
        ((point.layer, 1 - cosine_distance(a, b)) for point, a, b in pairs), key=lambda item: item[1]
    )
    words = f"the lowest cosine is {cosine:.5f}, at layer {layer}"
    if cosine < RAW_COSINE_FLOOR:
        raise _disagreement(f"{words}; {RAW_COSINE_FLOOR} is the least allowed")
    return f"{words}; {RAW_COSINE_FLOOR} is the least allowed"


def _standardised_distance(layer: int, ours: Tensor, theirs: Tensor, calibration: Calibration) -> float:
    statistics = calibration.layer(layer)
    return cosine_distance(standardise(ours, *statistics), standardise(theirs, *statistics))


def _disagreement(comparison: str) -> SelfTestFailed:
    return SelfTestFailed(
        "the engine's hidden states are not the reference's, so audits would fail: "
        f"{comparison}. Likely causes: --quantization, --kv-cache-dtype or --load-format changes what is "
        "computed; --dtype is not the model's own; the calibration file belongs to another model; --model "
        "is not the network's model; or a kernel is wrong on this hardware (try --enforce-eager)"
    )


def _precision(model: str, device: str) -> torch.dtype:
    """float32 where twice the weight files fit into memory (weights are stored in 16 bits), else bfloat16."""
    from shared.model_identity import local_folder

    stored = sum(file.stat().st_size for file in local_folder(model).glob("*.safetensors"))
    return torch.float32 if _free_bytes(device) > 2.4 * stored else torch.bfloat16


def _free_bytes(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return available_memory_bytes() or 0


def main(arguments: Sequence[str]) -> int:
    """`python -m miners.self_test MODEL cpu|auto FILE`: compute the reference and write it to FILE."""
    model, wanted, file = arguments
    device = "cuda" if wanted == "auto" and torch.cuda.is_available() else "cpu"
    try:
        compute_reference(model, device, _precision(model, device)).write(Path(file))
    except ModelError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
