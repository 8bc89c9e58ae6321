"""Verdicts of measured rows on disk, so that a benchmark of an hour can be made in pieces."""

from pathlib import Path

from pydantic import Field, ValidationError

from bench.detection.measuring import Measured
from bench.detection.older_verdicts import as_today
from shared.canonical import sha256_hex
from shared.identifiers import Message
from validator.verdicts import Verdict


class MeasuredFile(Message):
    """One row's measurement, and what it depends on."""

    row: str
    calibration: str
    unanswered: int
    verdicts: tuple[Verdict, ...] = Field(max_length=1_000_000)


class Archive:
    """One file a row in a folder; one made with another calibration, or of another form, counts as absent."""

    def __init__(self, folder: Path, calibration_file: Path) -> None:
        self._folder = folder
        self._calibration = sha256_hex(calibration_file.read_bytes())
        folder.mkdir(parents=True, exist_ok=True)

    def _file(self, row: str) -> Path:
        return self._folder / f"{row}.json"

    def load(self, row: str) -> Measured | None:
        """What has been measured of the row so far, or None."""
        file = self._file(row)
        if not file.exists():
            return None
        try:
            found = MeasuredFile.model_validate_json(as_today(file.read_bytes()))
        except ValidationError:
            return None
        if found.calibration != self._calibration:
            return None
        return Measured(list(found.verdicts), found.unanswered)

    def save(self, row: str, measured: Measured) -> None:
        """Keep what was measured of a row, in one step."""
        kept = MeasuredFile(
            row=row,
            calibration=self._calibration,
            unanswered=measured.unanswered,
            verdicts=tuple(measured.verdicts),
        )
        partial = self._file(row).with_suffix(".partial")
        partial.write_text(kept.model_dump_json(), encoding="utf-8")
        partial.replace(self._file(row))
