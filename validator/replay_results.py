"""Whether an epoch's verdicts, rounds, history, scores and weights follow from what is published."""

from collections import Counter

from shared.honest_noise import HonestNoise
from validator.epoch_arithmetic import (
    check_carried,
    check_constants,
    check_handed_on,
    check_scores,
    check_weights,
    difference,
)
from validator.epoch_evidence import EpochRefused, check_weighed
from validator.epoch_summary import EpochResults, EpochSummary
from validator.epoch_tables import WeightRow
from validator.replay_epoch import LoadedEpoch
from validator.round_check import check_rounds
from validator.verdicts import VerdictOutcome


def verdicts_follow(epoch: LoadedEpoch, noise: HonestNoise | None) -> str:
    """Outcomes, checks and weights follow from the evidence that verdicts state.

    Raises:
        EpochRefused: one does not, or a verdict names another uid than its record.
    """
    check_weighed(epoch.inputs.verdicts, noise)
    uids = {one.key: one.miner_uid for one in epoch.records.facts}
    for key, verdict in epoch.verdicts.items():
        if uids.get(key) != verdict.miner_uid:
            raise EpochRefused("evidence", f"the verdict on {key[0]} is about another uid than its record")
    counts = Counter(one.outcome for one in epoch.inputs.verdicts)
    told = ", ".join(f"{counts[name]} {words}" for name, words in _OUTCOMES.items() if counts[name])
    p_values = "p-values too, by the calibration" if noise else "p-values are as stated: no --calibration"
    return f"{len(epoch.verdicts)} verdicts ({told or 'none'}) follow from their evidence; {p_values}"


_OUTCOMES: dict[VerdictOutcome, str] = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"}


def rounds_follow(epoch: LoadedEpoch) -> str:
    """Rounds of probes were drawn with the secret that was committed to.

    Raises:
        EpochRefused: they were not.
    """
    check_rounds(epoch.inputs, epoch.summary.scoring)
    held = epoch.inputs.rounds.rounds
    asked = sum(len(one.asked) for one in held)
    return f"{len(held)} rounds of probes were drawn with the secret committed to, and asked {asked} miners"


def history_follows(epoch: LoadedEpoch, results: EpochResults) -> str:
    """The epoch starts with what the one before left, and leaves what follows.

    Raises:
        EpochRefused: it does not.
    """
    if epoch.previous is not None or epoch.summary.previous_digest is None:
        check_handed_on(epoch.summary, epoch.previous)
    check_carried(epoch.summary, results)
    summary = epoch.summary
    return (
        f"{len(summary.history)} miners' audits and {len(summary.refusals)} open refusals came from the "
        f"epoch before; {len(summary.history_after)} and {len(summary.refusals_after)} are handed on"
    )


def scores_follow(epoch: LoadedEpoch, results: EpochResults) -> str:
    """Scores are those that follow to the bit, in the summary and in the table.

    Raises:
        EpochRefused: they are not.
    """
    summary = epoch.summary
    check_constants(summary)
    check_scores(summary, results)
    stated = sorted(summary.scores, key=lambda one: one.hotkey)
    if list(epoch.scores) != stated:
        raise EpochRefused("scores", "in the table " + difference("scores", epoch.scores, stated))
    best = max(summary.scores, key=lambda one: one.score, default=None)
    top = f"; the best is {best.score} of {best.hotkey}" if best else ""
    return f"{len(summary.scores)} scores are computed again, equal to the bit{top}"


def weights_follow(epoch: LoadedEpoch, results: EpochResults) -> str:
    """u16 weights are those that follow, in the summary and in the table.

    Raises:
        EpochRefused: they are not.
    """
    summary = epoch.summary
    check_weights(summary, results)
    stated = weight_rows(summary)
    if list(epoch.weights) != stated:
        raise EpochRefused("weights", "in the table " + difference("weights", epoch.weights, stated))
    return f"{len(summary.weights)} u16 weights are computed again, equal to the bit"


def weight_rows(summary: EpochSummary) -> list[WeightRow]:
    """The rows that the table of weights must have.

    Raises:
        EpochRefused: a weight is of no registered uid.
    """
    hotkeys = {miner.uid: miner.hotkey for miner in summary.miners}
    if strange := [one.uid for one in summary.weights if one.uid not in hotkeys]:
        raise EpochRefused("weights", f"uid {strange[0]} has a weight and is nobody's")
    ordered = sorted(summary.weights, key=lambda one: one.uid)
    return [WeightRow(uid=one.uid, weight=one.weight, hotkey=hotkeys[one.uid]) for one in ordered]
