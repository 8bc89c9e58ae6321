"""A calibration of the tiny model, made in a second."""

from pathlib import Path

import torch

from shared.calibration import Calibration
from shared.calibration_header import CalibrationHeader
from shared.model_identity import generation_digest, model_digest
from shared.reference_model import ReferenceModel

STATISTICS_TOKENS = 256


def tiny_calibration(folder: Path) -> Calibration:
    """Mean and deviation of the reference's hidden states over random tokens."""
    reference = ReferenceModel.load(str(folder))
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(100, 40_000, (STATISTICS_TOKENS,), generator=generator).tolist()
    layers = range(1, reference.num_layers + 1)
    taken = reference.hidden_states(tokens, dict.fromkeys(layers, range(STATISTICS_TOKENS)))
    hidden = torch.stack([taken[layer] for layer in layers])
    header = CalibrationHeader(
        model=folder.name,
        model_digest=model_digest(folder),
        generation_digest=generation_digest(folder),
        num_layers=reference.num_layers,
        hidden_size=reference.hidden_size,
        reference=ReferenceModel.describe("cpu", torch.float32),
        statistics_tokens=STATISTICS_TOKENS,
    )
    return Calibration(header, hidden.mean(dim=1), hidden.std(dim=1))
