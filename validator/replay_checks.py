"""All checks of one epoch that need nothing but what is published, each by its name."""

from collections.abc import Callable, Mapping
from functools import partial

from shared.honest_noise import HonestNoise
from validator.epoch_evidence import EpochRefused, noise_of
from validator.epoch_summary import EpochResults, results_of
from validator.known_calibration import KnownCalibration
from validator.replay_challenges import check_challenges
from validator.replay_epoch import LoadedEpoch
from validator.replay_openings import check_openings
from validator.replay_records import AskedTokens, check_receipts, check_records, check_texts
from validator.replay_report import CheckName, CheckResult, checked, fails, holds, unchecked
from validator.replay_results import (
    history_follows,
    rounds_follow,
    scores_follow,
    verdicts_follow,
    weights_follow,
)
from validator.request_state import RequestKey

OF_FILES: tuple[CheckName, ...] = (
    "records", "receipts", "texts", "challenges", "openings", "verdicts", "rounds", "history", "scores",
    "weights",
)  # fmt: skip
"""The checks that rest on an epoch's files."""


def check_epoch(epoch: LoadedEpoch, calibration: KnownCalibration | None) -> list[CheckResult]:
    """Every check of OF_FILES, in order."""
    number = epoch.number
    results = [
        checked("records", number, lambda: check_records(epoch)),
        checked("receipts", number, lambda: check_receipts(epoch)),
    ]
    texts, asked = _texts(epoch)
    noise, calibration_fault = _noise(epoch, calibration)
    points = noise.points if noise else None
    challenges = checked("challenges", number, lambda: check_challenges(epoch, points))
    results += [texts, challenges, _openings(epoch, challenges, asked)]
    verdicts = checked("verdicts", number, lambda: verdicts_follow(epoch, noise))
    results.append(fails("verdicts", calibration_fault, number) if calibration_fault else verdicts)
    results.append(_with_previous("rounds", epoch, lambda: rounds_follow(epoch)))
    return results + _results(epoch)


def _texts(epoch: LoadedEpoch) -> tuple[CheckResult, Mapping[RequestKey, AskedTokens]]:
    try:
        words, asked = check_texts(epoch)
    except EpochRefused as refused:
        return fails("texts", str(refused), epoch.number), {}
    return holds("texts", words, epoch.number), asked


def _noise(epoch: LoadedEpoch, calibration: KnownCalibration | None) -> tuple[HonestNoise | None, str]:
    """The honest distributions, and what is wrong with the calibration file at hand."""
    try:
        return noise_of(calibration, epoch.summary.calibration_sha256), ""
    except EpochRefused as refused:
        return None, str(refused)


def _openings(
    epoch: LoadedEpoch, challenges: CheckResult, asked: Mapping[RequestKey, AskedTokens]
) -> CheckResult:
    if challenges.state != "holds":
        return unchecked("openings", "the challenges do not hold, so no answer can be to them", epoch.number)
    return checked("openings", epoch.number, lambda: check_openings(epoch, asked))


def _results(epoch: LoadedEpoch) -> list[CheckResult]:
    results = results_of(epoch.inputs, epoch.summary.scoring)
    checks: list[tuple[CheckName, Callable[[LoadedEpoch, EpochResults], str]]] = [
        ("history", history_follows),
        ("scores", scores_follow),
        ("weights", weights_follow),
    ]
    return [_with_previous(name, epoch, partial(check, epoch, results)) for name, check in checks]


def _with_previous(name: CheckName, epoch: LoadedEpoch, check: Callable[[], str]) -> CheckResult:
    """Checks that need the summary before, which the rounds of that one are taken from."""
    if epoch.previous is None and epoch.summary.previous_digest is not None:
        return unchecked(name, "the summary before it, which it starts from, can't be had", epoch.number)
    return checked(name, epoch.number, check)
