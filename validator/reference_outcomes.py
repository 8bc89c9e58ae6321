"""What several audits get from the reference, computed together, so that one that fails fails alone."""

from collections.abc import Mapping, Sequence

from torch import Tensor

from shared.commitments import Point
from shared.errors import ModelError
from shared.reference_examination import Examination, Reading
from shared.reference_model import ReferenceModel

Found = dict[Point, Tensor]
"""Hidden vectors, float32 [hidden_size] on the CPU."""

Choices = Mapping[int, Examination]
"""What an audit asks, by choice."""


def compute(reference: ReferenceModel, audits: Sequence[Choices]) -> list[Found | Exception]:
    """Hidden vectors of each audit, its logits handed to their readers; or why there are none."""
    refusals = [_refusal(reference, choices) for choices in audits]
    sound = [choices for choices, refusal in zip(audits, refusals, strict=True) if refusal is None]
    outcomes = iter(_together(reference, sound))
    return [next(outcomes) if refusal is None else refusal for refusal in refusals]


def _refusal(reference: ReferenceModel, choices: Choices) -> ModelError | None:
    for choice, asked in choices.items():
        try:
            reference.check(asked)
        except ValueError as error:
            return ModelError(f"the reference can't compute choice {choice}: {error}")
    return None


def _together(reference: ReferenceModel, audits: Sequence[Choices]) -> list[Found | Exception]:
    """Compute all in one go; when that fails, such as for want of memory, one by one."""
    try:
        readings = iter(reference.examine([asked for choices in audits for asked in choices.values()]))
    except RuntimeError as error:
        if len(audits) > 1:
            return [_together(reference, [choices])[0] for choices in audits]
        tokens = sum(asked.length for asked in audits[0].values())
        return [ModelError(f"the reference can't compute {tokens} tokens: {error}")]
    return [_outcome(reference, {choice: next(readings) for choice in choices}) for choices in audits]


def _outcome(reference: ReferenceModel, readings: Mapping[int, Reading]) -> Found | Exception:
    found: Found = {}
    try:
        for choice, reading in readings.items():
            reference.hand_out(reading)
            found |= _vectors(choice, reading)
    except Exception as error:  # noqa: BLE001  the root of an audit's job: its caller hears what its reader raised
        return error
    return found


def _vectors(choice: int, reading: Reading) -> Found:
    points = reading.asked.points
    return {
        Point(choice, position, layer): row
        for layer, rows in reading.hidden().items()
        for position, row in zip(points[layer], rows, strict=True)
    }
