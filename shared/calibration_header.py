"""What a calibration file says of itself: readable without its tensors, and without torch.

The file (`shared/calibration.py`) is a safetensors file whose header carries this as JSON under the key
`calibration`. A gateway serves it by the SHA-256 of its bytes, and says with an offer which one that is.
"""

import json
import struct
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from shared.canonical import sha256_hex
from shared.errors import ModelError
from shared.honest_noise import HonestNoise
from shared.identifiers import Hex32, Message

MAX_FILE_BYTES = 1 << 28
CALIBRATION_FILE = "constantinople.calibration"
"""Looked for in the model's folder when no other file is named. Its name must not end in .safetensors:
vLLM loads every such file of the folder as weights."""

OFFER_PATH = "/v1/calibration"
"""Where a gateway serves its offer; the file itself is at this path, a slash and its digest."""


class CalibrationHeader(Message):
    """The JSON part of the file."""

    version: Literal["calibration/2"] = "calibration/2"
    model: Annotated[str, Field(max_length=256)]
    model_digest: Hex32
    generation_digest: Hex32 | None = None
    """Of the model's defaults for drawing tokens (`shared.model_identity.generation_digest`); None in files
    from before it was stated."""
    num_layers: Annotated[int, Field(ge=1, le=1024)]
    hidden_size: Annotated[int, Field(ge=1, le=1 << 16)]
    reference: str
    """How the reference was computed: library, version, dtype, device."""
    statistics_tokens: int
    """Positions that mean and deviation were measured over."""
    noise: HonestNoise | None = None


class CalibrationOffer(Message):
    """Which calibration file a gateway serves."""

    version: Literal["calibration-offer/1"] = "calibration-offer/1"
    model: Annotated[str, Field(max_length=256)]
    model_digest: Hex32
    sha256: Hex32
    """Of the file's bytes."""
    size_bytes: Annotated[int, Field(ge=1, le=MAX_FILE_BYTES)]

    @property
    def path(self) -> str:
        """Where the gateway serves the file."""
        return f"{OFFER_PATH}/{self.sha256}"


def read_file(file: Path) -> bytes:
    """The bytes of a calibration file, not yet checked.

    Raises:
        ModelError: it is missing, can't be read, or is too large.
    """
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"the calibration file {file} is larger than {MAX_FILE_BYTES} bytes")
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"the calibration file {file} can't be read: {error.strerror}") from None


def parse_header(data: bytes) -> CalibrationHeader:
    """The header of a file's bytes.

    Raises:
        ModelError: the bytes do not begin as a calibration file does.
    """
    try:
        return CalibrationHeader.model_validate_json(_header_json(data))
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(f"this is not a calibration file: {error}") from None


def offer_of(data: bytes) -> CalibrationOffer:
    """What a gateway says of a file's bytes.

    Raises:
        ModelError: the bytes are not a calibration file.
    """
    header = parse_header(data)
    return CalibrationOffer(
        model=header.model,
        model_digest=header.model_digest,
        sha256=sha256_hex(data),
        size_bytes=len(data),
    )


def find_calibration(model: str, named: str | Path | None) -> Path:
    """The file on this machine to use: the named one, or the one in the model's folder.

    Raises:
        ModelError: there is none; the message says how to get one.
    """
    if named is not None:
        return Path(named).expanduser()
    beside = Path(model).expanduser() / CALIBRATION_FILE
    if beside.exists():
        return beside
    raise ModelError(
        f"there is no calibration file for {model}: name one with --calibration FILE, or a gateway "
        "of the network with --calibration URL (a new network makes it with python -m validator.calibrate)"
    )


def _header_json(data: bytes) -> str:
    (length,) = struct.unpack("<Q", data[:8]) if len(data) >= 8 else (0,)
    if not 0 < length <= len(data) - 8:
        raise ValueError("the header is missing or cut short")
    header = json.loads(data[8 : 8 + length])
    text = header["__metadata__"]["calibration"]
    if not isinstance(text, str):
        raise ValueError("the header's calibration is not text")
    return text
