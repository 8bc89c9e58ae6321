"""The calibration file: what standardises sketches and what an honest distance looks like.

One safetensors file a model: tensors in the body, everything else as JSON under the header's
`calibration` key. It is named by the SHA-256 of its bytes. `validator.calibrate` writes it; miners need
its statistics, auditors its thresholds too.
"""

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from shared.calibration_header import CalibrationHeader, parse_header, read_file
from shared.canonical import canonical_json, sha256_hex
from shared.errors import ModelError


@dataclass(frozen=True)
class Calibration:
    """A parsed calibration file.

    Attributes:
        mean, deviation: float32, [num_layers, hidden_size]; row i is layer i+1.
        digest: SHA-256 of the statistics alone (mean, deviation, model), so that thresholds can be
            refined without invalidating what miners have committed to.
    """

    header: CalibrationHeader
    mean: Tensor
    deviation: Tensor

    @property
    def digest(self) -> str:
        identity = {"model": self.header.model, "model_digest": self.header.model_digest}
        return sha256_hex(canonical_json(identity) + _raw(self.mean) + _raw(self.deviation))

    def layer(self, layer: int) -> tuple[Tensor, Tensor]:
        """(mean, deviation) of a layer from 1 to num_layers, each [hidden_size]."""
        return self.mean[layer - 1], self.deviation[layer - 1]


def _raw(tensor: Tensor) -> bytes:
    return tensor.to(torch.float32).contiguous().view(torch.uint8).cpu().numpy().tobytes()


def write_calibration(calibration: Calibration, file: Path) -> None:
    """Write the file in one step: readers see the old one or the new one."""
    tensors = {"mean": calibration.mean.contiguous(), "deviation": calibration.deviation.contiguous()}
    metadata = {"calibration": canonical_json(calibration.header).decode()}
    partial = file.with_name(file.name + ".partial")
    partial.write_bytes(safetensors.torch.save(tensors, metadata=metadata))
    partial.replace(file)


def read_calibration(file: Path) -> Calibration:
    """Read and check a calibration file.

    Raises:
        ModelError: it is missing, damaged, or its shapes contradict its header.
    """
    data = read_file(file)
    try:
        return parse_calibration(data)
    except ModelError as error:
        raise ModelError(f"{file}: {error}") from None


def parse_calibration(data: bytes) -> Calibration:
    """A calibration from a file's bytes.

    Raises:
        ModelError: the bytes are not a calibration file.
    """
    header = parse_header(data)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"this is not a calibration file: {error}") from None
    mean, deviation = tensors.get("mean"), tensors.get("deviation")
    shape = (header.num_layers, header.hidden_size)
    for name, tensor in (("mean", mean), ("deviation", deviation)):
        if tensor is None or tensor.shape != shape or not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"the calibration's {name} is not a finite tensor of shape {shape}")
    if header.noise is not None and len(header.noise.scale) != header.num_layers:
        raise ModelError(f"the calibration names scales of {len(header.noise.scale)} layers, not {shape[0]}")
    assert mean is not None
    assert deviation is not None
    return Calibration(header, mean.to(torch.float32), deviation.to(torch.float32))
