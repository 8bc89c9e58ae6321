"""The calibration file as a follower knows it: its digest, and what honest audits look like."""

from dataclasses import dataclass
from pathlib import Path

from shared.calibration_header import parse_header, read_file
from shared.calibration_source import obtain_calibration
from shared.canonical import sha256_hex
from shared.errors import ModelError
from shared.honest_noise import HonestNoise


@dataclass(frozen=True)
class KnownCalibration:
    """What p-values of published verdicts are recomputed with."""

    sha256: str
    noise: HonestNoise


def known_calibration(named: str, state_folder: Path) -> KnownCalibration:
    """The calibration of a file, or of the gateway at a URL. Blocks.

    Raises:
        ModelError: it can't be had, or has no honest distributions.
    """
    file = obtain_calibration(named, "", state_folder)
    data = read_file(file)
    noise = parse_header(data).noise
    if noise is None:
        raise ModelError(
            f"the calibration file {file} holds no honest distributions, so no verdict can be checked by it: "
            "take the one that the network audits with"
        )
    return KnownCalibration(sha256_hex(data), noise)
