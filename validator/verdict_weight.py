"""Whether a verdict's outcome, deciding check and weight follow from the evidence that it states.

Pure, and without the model: a follower repeats it with what is published.
"""

import math
from collections.abc import Sequence

from shared.honest_noise import HonestNoise
from validator.evidence import (
    FAIL_P_VALUE,
    PROVEN_LOG_E,
    SHARES,
    UNANSWERED_LOG_E,
    e_value,
    log_e_value,
    score_ratios,
    weigh,
)
from validator.evidence_families import LARGEST_RATIO, WEIGHTS, family_ratios
from validator.token_evidence import MARGIN_NAMES, token_score
from validator.verdicts import DECIDED_BY, Evidence, Statistic, Verdict

LOG_E_TOLERANCE = 1e-9
"""Logarithms of one number may differ in their last bits from machine to machine; so may p-values, by this
share of themselves."""

SCORE_TOLERANCE = 1e-6
"""Scores of tokens are exponentials of sums over an answer's tokens."""

RATIO_TOLERANCE = 1e-5
"""Ratios are published with six digits."""

SMALLEST_RATIO = 1e-12
"""Below it a ratio counts as 0."""

COMPARED: frozenset[Statistic] = frozenset({"typical", "mean", "replay"})
"""What every audit states that came as far as the reference; tokens can't always be checked."""


def weight_fault(verdict: Verdict, noise: HonestNoise | None = None) -> str | None:
    """What is wrong with a verdict's weight, in words; None when it follows from the verdict's evidence.

    A pass and an audit that statistics decided weigh what their statistics say, a failed exact check and an
    unanswered challenge what each of them always weighs, and an inconclusive audit nothing.

    Args:
        noise: of the network's calibration, where the follower has it: p-values then must follow from scores,
            and the score of tokens from what is stated of them.
    """
    fault = (
        _statistics_fault(verdict)
        or _outcome_fault(verdict)
        or _families_fault(verdict)
        or (_calibration_fault(verdict, noise) if noise else None)
    )
    if fault is not None:
        return fault
    allowed = _weights(verdict)
    if any(low - LOG_E_TOLERANCE <= verdict.log_e <= high + LOG_E_TOLERANCE for low, high in allowed):
        return None
    words = " or ".join(f"{low}" if low == high else f"{low} to {high}" for low, high in allowed)
    return f"weighs {verdict.log_e}, its evidence says {words}"


def _strange(evidence: Sequence[Evidence]) -> list[Evidence]:
    return [one for one in evidence if one.p_value < FAIL_P_VALUE]


def _statistics_fault(verdict: Verdict) -> str | None:
    """Whether the statistics are those of an audit that came as far as the reference, or none."""
    names = [one.statistic for one in verdict.evidence]
    if len(set(names)) != len(names):
        return "states a statistic twice"
    missing = COMPARED - set(names)
    tokens = verdict.tokens is not None and verdict.tokens.checked > 0
    if names and names != ["replay"] and tokens != ("tokens" in names):
        return f"{'leaves out' if tokens else 'invents'} the statistic 'tokens'"
    whole = not missing if verdict.outcome == "pass" else not names or not missing or names == ["replay"]
    return None if whole else f"leaves out the statistic {min(missing)!r}"


def _outcome_fault(verdict: Verdict) -> str | None:
    """Whether outcome and check can come of the evidence."""
    if verdict.outcome == "pass":
        return _pass_fault(verdict)
    if verdict.outcome == "inconclusive":
        if verdict.check != "request" or verdict.evidence:
            return "is inconclusive, though something was decided or compared"
        return None
    if verdict.check in ("all", "request"):
        return f"failed by the check {verdict.check!r}, which fails nobody"
    if strange := _strange(verdict.evidence):
        expected = DECIDED_BY[strange[0].statistic]
        if verdict.check != expected:
            return f"failed by {verdict.check!r}, its evidence says {expected!r}"
    elif verdict.evidence:
        return "failed though honest miners have all of its statistics"
    return None


def _pass_fault(verdict: Verdict) -> str | None:
    if verdict.check != "all":
        return f"passed by the check {verdict.check!r}, an audit passes when all hold"
    if strange := _strange(verdict.evidence):
        return f"passed though its statistic {strange[0].statistic!r} fails an audit"
    return None


def _weights(verdict: Verdict) -> list[tuple[float, float]]:
    """What the verdict may weigh: (least, most)."""
    if verdict.outcome == "inconclusive":
        return [(0.0, 0.0)]
    if verdict.evidence:
        weight = log_e_value(verdict.evidence)
        return [(weight, weight)]
    exact = [PROVEN_LOG_E, UNANSWERED_LOG_E] if verdict.check == "answer" else [PROVEN_LOG_E]
    return [(weight, weight) for weight in exact]


def _families_fault(verdict: Verdict) -> str | None:
    """Whether the families are those that the audit could tell; what can be checked without calibration."""
    expected: dict[str, float] = {
        one.statistic: e_value(one.p_value) for one in verdict.evidence if one.statistic in SHARES
    }
    told = set(expected)
    if verdict.tokens is not None and any(one.statistic == "tokens" for one in verdict.evidence):
        told |= {one.name for one in verdict.tokens.alternatives if one.name in WEIGHTS} | set(MARGIN_NAMES)
    if strange := sorted(told ^ set(verdict.ratios)):
        return f"{'leaves out' if strange[0] in told else 'invents'} the family {strange[0]!r}"
    for name, ratio in expected.items():
        if not _same_ratio(verdict.ratios[name], ratio):
            return f"has the ratio {verdict.ratios[name]} for {name}, of whose p-value {ratio} follows"
    return None


def _distances_fault(verdict: Verdict, noise: HonestNoise) -> str | None:
    """Whether the scores of sketches are the means of the distances that are stated."""
    if not verdict.points:
        return None
    try:
        ratios = [one.distance / noise.scale_at(one.layer, one.position) for one in verdict.points]
    except (LookupError, ValueError):
        return "states the distance of a layer that the model does not have"
    scores = dict(zip(("typical", "mean"), score_ratios(ratios), strict=True))
    for one in verdict.evidence:
        expected = scores.get(one.statistic, one.score)
        if not math.isclose(one.score, expected, rel_tol=LOG_E_TOLERANCE):
            return f"has the score {one.score} for {one.statistic}, of whose distances {expected} follows"
    return None


def _same_ratio(stated: float, computed: float) -> bool:
    return math.isclose(stated, min(computed, LARGEST_RATIO), rel_tol=RATIO_TOLERANCE, abs_tol=SMALLEST_RATIO)


def _calibration_fault(verdict: Verdict, noise: HonestNoise) -> str | None:
    if fault := _distances_fault(verdict, noise):
        return fault
    for one in verdict.evidence:
        expected = weigh(noise, one.statistic, one.score).p_value
        if not math.isclose(one.p_value, expected, rel_tol=LOG_E_TOLERANCE):
            return f"has the p-value {one.p_value} for {one.statistic} {one.score}, which has {expected}"
        if one.statistic == "tokens" and verdict.tokens is not None:
            score = token_score(verdict.tokens, noise.margins)
            if not math.isclose(one.score, score, rel_tol=SCORE_TOLERANCE):
                return f"has the score {one.score} for its tokens, of which {score} follows"
    computed = family_ratios(verdict.evidence, verdict.tokens, noise.margins)
    for name, ratio in computed.items():
        if not _same_ratio(verdict.ratios[name], ratio):
            return f"has the ratio {verdict.ratios[name]} for {name!r}, of whose tokens {ratio} follows"
    return None
