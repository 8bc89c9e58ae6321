"""Whether the model on this machine is the one that a calibration file, and so the network, is for."""

from pathlib import Path

from shared.calibration_header import CalibrationHeader
from shared.errors import ModelError
from shared.model_identity import generation_digest


def check_weights(header: CalibrationHeader, digest: str, source: str) -> None:
    """Check that a fetched calibration is for the model on this machine, whose digest is `digest`.

    Raises:
        ModelError: it is for another.
    """
    if header.model_digest != digest:
        raise ModelError(
            f"the calibration file from {source} is for {header.model} with digest "
            f"{header.model_digest[:16]}, the model here has {digest[:16]}: it is another one, another "
            "revision, or was changed; get the network's model, or check the address"
        )


def check_generation(header: CalibrationHeader, folder: Path) -> None:
    """Check that requests which leave something open are drawn here with the network's defaults.

    A file that does not state them is taken as it is.

    Raises:
        ModelError: they are not; honest answers would fail audits, and an audit would fail honest answers.
    """
    if header.generation_digest not in (None, generation_digest(folder)):
        raise ModelError(
            f"{folder / 'generation_config.json'} has other sampling defaults or end tokens than the "
            "network's, so answers would be drawn otherwise than audits expect: get the model's own file "
            "again, of the revision that the calibration file was made with"
        )
