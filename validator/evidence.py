"""From an audit's statistics to one e-value: what the audit says against the miner's honesty.

An e-value is a non-negative number whose mean is at most 1 when the miner is honest, so evidence over many
audits may be multiplied and looked at after every one (Vovk & Wang, "E-values: Calibration, combination and
applications", 2021). A p-value becomes one by their mixture of the calibrators κ p^(κ−1) over κ in (0, 1),

    e(p) = (1 − p + p ln p) / (p ln² p),

and averages of e-values are e-values however they depend on each other. The output tokens have one of their
own (`validator/token_evidence.py`), which counts half; the mean of what the hidden states say is the rest.
Of the evidence a share is put at stake on the miner's cheating in this very audit,

    1 − STAKE + STAKE × e,

an e-value again (betting: Waudby-Smith & Ramdas, 2024): who cheats only sometimes is not cleared by the
passes in between, which count ln(1 − STAKE) at worst.
"""

import math
from collections.abc import Mapping, Sequence

from shared.honest_noise import SMALLEST_P_VALUE, HonestNoise
from validator.verdicts import Evidence, Statistic

FAIL_P_VALUE = 1e-4
"""An audit fails when a statistic's p-value is below this: of 10,000 honest audits about one for each of
four statistics. `python -m bench.detection` measures how many do."""

PROVEN_LOG_E = math.log(2e6)
"""What a failed exact check counts: a wrong signature, a path that does not lead to the root, other tokens
than were asked for. No honest noise does that; what is left is faults of memory and of programs."""

UNANSWERED_LOG_E = math.log(100.0)
"""What a challenge counts that was not answered, after retries that survive a short network fault, while
the auditor's own network was up. A choice: two such audits weigh as one honest audit in 10,000."""

STAKE = 0.5
"""Costs a steady cheat's detection ln 2 an audit at most; without it a cheat in one answer of ten, which
passes nine audits for every one that it fails, would never be seen."""

SHARES: Mapping[Statistic, float] = {"typical": 0.5, "mean": 0.25, "replay": 0.25}
"""How the e-values of hidden states are averaged: slight errors of all weights show in the typical one."""

_NEAR_ONE = 1e-4
"""Within this of p = 1 the formula is 0/0 to floating point; its limit there is 1/2."""


def e_value(p_value: float) -> float:
    """The mixture calibrator; 1/2 at p = 1.

    Raises:
        ValueError: `p_value` is not in (0, 1].
    """
    if not 0 < p_value <= 1:
        raise ValueError(f"a p-value lies in (0, 1], got {p_value}")
    if 1 - p_value < _NEAR_ONE:
        return 0.5
    logarithm = math.log(p_value)
    return (1 - p_value + p_value * logarithm) / (p_value * logarithm * logarithm)


SMALLEST_SCORED = 1e-6
"""Below this a ratio counts as it: sketches that agree to the bit must not outweigh those that don't."""


def score_ratios(ratios: Sequence[float]) -> tuple[float, float]:
    """(geometric mean, arithmetic mean) of distance / honest scale over an audit's points."""
    floored = [max(ratio, SMALLEST_SCORED) for ratio in ratios]
    typical = math.exp(sum(math.log(ratio) for ratio in floored) / len(floored))
    return typical, sum(floored) / len(floored)


def log_e_value(evidence: Sequence[Evidence]) -> float:
    """The natural logarithm of an audit's e-value; 0 without any statistic.

    The tokens' score is an e-value itself: a p-value made of it and turned back would lose most of a slight
    cheat's.
    """
    states = [one for one in evidence if one.statistic in SHARES]
    halves = [one.score for one in evidence if one.statistic == "tokens"]
    if states:
        shares = sum(SHARES[one.statistic] for one in states)
        halves.append(sum(SHARES[one.statistic] * e_value(one.p_value) for one in states) / shares)
    return math.log(1 - STAKE + STAKE * sum(halves) / len(halves)) if halves else 0.0


def weigh(noise: HonestNoise, statistic: Statistic, score: float) -> Evidence:
    """A statistic with its p-value under `noise`.

    The tokens' score is an e-value: an honest miner's is x or more with a probability of 1/x at most
    (Markov's inequality).
    """
    if statistic == "tokens":
        p_value = max(SMALLEST_P_VALUE, 1 / max(1.0, score))
    else:
        tails = {"typical": noise.typical, "mean": noise.mean, "replay": noise.replay}
        p_value = tails[statistic].p_value(score)
    return Evidence(statistic=statistic, score=score, p_value=p_value)
