"""Whether an epoch's results follow from its inputs: audits as drawn, rounds as drawn, scores to the bit."""

from collections.abc import Sequence

from shared.honest_noise import HonestNoise
from validator.audit_coverage import check_coverage
from validator.epoch_evidence import EpochRefused, check_evidence
from validator.epoch_summary import EpochResults, EpochSummary, results_of
from validator.measurement import EpochInputs
from validator.round_check import check_rounds
from validator.scoring_config import ScoringConfig


def check_results(
    inputs: EpochInputs, summary: EpochSummary, previous: EpochSummary | None, noise: HonestNoise | None
) -> None:
    """Compute again all that a summary states, from its files and the summary before it.

    Args:
        noise: of the network's calibration file, where the follower has it.

    Raises:
        EpochRefused: something does not follow.
    """
    check_evidence(inputs, noise)
    check_handed_on(summary, previous)
    check_constants(summary)
    check_coverage(inputs, summary.audits_outstanding, summary.scoring)
    check_rounds(inputs, summary.scoring)
    results = results_of(inputs, summary.scoring)
    check_scores(summary, results)
    check_weights(summary, results)
    check_carried(summary, results)


def check_handed_on(summary: EpochSummary, previous: EpochSummary | None) -> None:
    """The epoch starts with the history that the one before it left.

    Raises:
        EpochRefused: it does not.
    """
    if summary.history != (previous.history_after if previous else ()):
        raise EpochRefused(
            "history", f"epoch {summary.epoch} does not start with the audit history before it"
        )
    if summary.refusals != (previous.refusals_after if previous else ()):
        raise EpochRefused("history", f"epoch {summary.epoch} does not start with the refusals before it")


def check_constants(summary: EpochSummary) -> None:
    """The epoch is scored with the constants of this program.

    Raises:
        EpochRefused: it is not.
    """
    if summary.scoring != ScoringConfig():
        raise EpochRefused(
            "constants", f"epoch {summary.epoch} is scored with other constants: is this program up to date?"
        )


def check_scores(summary: EpochSummary, results: EpochResults) -> None:
    """Scores, and what probes found, are those that follow, to the bit.

    Raises:
        EpochRefused: they are not.
    """
    if results.probes != summary.probes:
        raise EpochRefused("scores", f"what probes found in epoch {summary.epoch} does not follow")
    if results.scores != summary.scores:
        raise EpochRefused("scores", difference("scores", summary.scores, results.scores))


def check_weights(summary: EpochSummary, results: EpochResults) -> None:
    """Weights are those that follow, to the bit.

    Raises:
        EpochRefused: they are not.
    """
    if results.weights != summary.weights:
        raise EpochRefused("weights", difference("weights", summary.weights, results.weights))


def check_carried(summary: EpochSummary, results: EpochResults) -> None:
    """What the next epoch starts with is what follows.

    Raises:
        EpochRefused: it is not.
    """
    if results.history_after != summary.history_after:
        raise EpochRefused("history", f"the audit history after epoch {summary.epoch} does not follow")
    if results.refusals_after != summary.refusals_after:
        raise EpochRefused("history", f"the open refusals after epoch {summary.epoch} do not follow")
    if results.rounds_after != summary.rounds_after:
        raise EpochRefused("history", f"the rounds after epoch {summary.epoch} do not follow")


def difference(what: str, stated: Sequence[object], computed: Sequence[object]) -> str:
    """The first that differs, in words."""
    pairs = zip(stated, computed, strict=False)
    first = next((f"{one} is stated, {other} follows" for one, other in pairs if one != other), None)
    counts = f"{len(stated)} are stated, {len(computed)} follow"
    return f"the {what} do not follow from the evidence: {first or counts}"
