"""The model on this machine, and whether the calibration file at hand is for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.calibration import Calibration, read_calibration
from shared.calibration_source import obtain_calibration
from shared.diagnosis import Finding, bad, note, ok
from shared.errors import ModelError
from shared.model_check import check_generation, check_weights
from shared.model_identity import local_folder, model_digest
from shared.reference_memory import stored_weight_bytes

NO_NOISE_CURE = (
    "get the network's file from a gateway with --calibration https://…, or complete this one with: "
    "python -m validator.calibrate --stage noise"
)


@dataclass(frozen=True)
class ModelFacts:
    """What later checks need of the model; each is None where it could not be had."""

    folder: Path | None = None
    calibration_file: Path | None = None
    calibration: Calibration | None = None

    @property
    def stored_bytes(self) -> int | None:
        """Size of the weight files."""
        if self.folder is None:
            return None
        return stored_weight_bytes(self.folder)


def check_model(model: str, named: str | None, state_folder: Path) -> tuple[ModelFacts, Sequence[Finding]]:
    """Look at the model's files and the calibration. Blocks: reads all weights once; fetches nothing but a
    calibration file that is named by URL.

    Args:
        named: what `--calibration` says.
    """
    try:
        folder = local_folder(model, fetch=False)
        digest = model_digest(folder)
    except (ModelError, OSError) as error:
        cure = f"fetch it with: hf download {model} (a folder needs config.json and *.safetensors)"
        return ModelFacts(), [bad("model", str(error), cure)]
    found = [ok("model", f"{folder}, digest {digest[:16]}{_revision(folder)}")]
    try:
        file = obtain_calibration(named, model if named else str(folder), state_folder)
        calibration = read_calibration(file)
    except ModelError as error:
        cure = "name the network's file, or a gateway that serves it, with --calibration FILE|URL"
        return ModelFacts(folder), [*found, bad("calibration", str(error), cure)]
    facts = ModelFacts(folder, file, calibration)
    return facts, [*found, *judge_calibration(calibration, digest, folder, file)]


def _revision(folder: Path) -> str:
    """A hub snapshot's folder is named by its revision."""
    return f", revision {folder.name}" if folder.parent.name == "snapshots" else ""


def judge_calibration(calibration: Calibration, digest: str, folder: Path, file: Path) -> Sequence[Finding]:
    """Whether the calibration is for these weights, whole, and expects this generation_config.json."""
    found: list[Finding] = []
    try:
        check_weights(calibration.header, digest, str(file))
    except ModelError as error:
        found.append(
            bad("calibration", str(error), f"get {calibration.header.model} again, of the network's revision")
        )
    try:
        check_generation(calibration.header, folder)
    except ModelError as error:
        cure = f"fetch {folder / 'generation_config.json'} again, and pass no --generation-config to vLLM"
        found.append(bad("generation", str(error), cure))
    if calibration.header.generation_digest is None:
        found.append(note("generation", "the calibration file does not state the model's sampling defaults"))
    noise = calibration.header.noise
    if noise is None:
        words = f"{file} holds statistics but no honest noise, so nothing can be judged by it"
        found.append(bad("calibration", words, NO_NOISE_CURE))
    if any(not one.well for one in found):
        return found
    fitted = f"; noise of {noise.fitted_requests} requests" if noise else ""
    return [*found, ok("calibration", f"{file}, digest {calibration.digest[:16]}, for this model{fitted}")]
