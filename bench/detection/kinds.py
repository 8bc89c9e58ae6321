"""What each kind of evidence shows by itself: a few points, all points of an audit, its tokens."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from shared.honest_noise import HonestNoise
from validator.evidence import FAIL_P_VALUE
from validator.verdicts import Statistic, Verdict
from validator.verification import score_ratios

DRAWS = 50
"""Draws of a few points from each audit."""

HONEST_SHARE = 0.001
"""Share of honest draws that may lie above the limit for a few points."""


@dataclass(frozen=True)
class Kinds:
    """Shares of a row's audits; None where nothing was measured.

    Attributes:
        two_points: draws of two points whose geometric mean is above what one honest draw in 1,000 has.
        sketches: audits that fail by their points alone.
        tokens: audits that fail by their tokens alone.
        checked: median number of tokens of those audits.
        exact: share of tokens that the reference draws too.
    """

    two_points: float | None
    sketches: float | None
    tokens: float | None
    checked: float
    exact: float | None


def kinds(verdicts: Sequence[Verdict], honest: Sequence[Verdict], noise: HonestNoise) -> Kinds:
    """What each kind of evidence shows about a row; `honest` are audits of honest miners."""
    lengths = [one.tokens.checked for one in verdicts if one.tokens and one.tokens.checked]
    exact = sum(one.tokens.exact for one in verdicts if one.tokens)
    return Kinds(
        two_points=_few_points(verdicts, honest, noise, 2),
        sketches=_share_failing(verdicts, ("typical", "mean")),
        tokens=_share_failing(verdicts, ("tokens",)),
        checked=median(lengths) if lengths else 0.0,
        exact=exact / sum(lengths) if lengths else None,
    )


def _share_failing(verdicts: Sequence[Verdict], statistics: Sequence[Statistic]) -> float | None:
    p_values = [
        [one.p_value for one in verdict.evidence if one.statistic in statistics] for verdict in verdicts
    ]
    measured = [min(found) for found in p_values if found]
    return sum(one < FAIL_P_VALUE for one in measured) / len(measured) if measured else None


def _few_points(
    verdicts: Sequence[Verdict], honest: Sequence[Verdict], noise: HonestNoise, count: int
) -> float | None:
    scores, honest_scores = (_scores_of_few(one, noise, count) for one in (verdicts, honest))
    if not scores or not honest_scores:
        return None
    limit = sorted(honest_scores)[int(len(honest_scores) * (1 - HONEST_SHARE))]
    return sum(score > limit for score in scores) / len(scores)


def _scores_of_few(verdicts: Sequence[Verdict], noise: HonestNoise, count: int) -> list[float]:
    draw = random.Random(count)
    scores = []
    for verdict in verdicts:
        ratios = [point.distance / noise.scale_at(point.layer, point.position) for point in verdict.points]
        if len(ratios) >= count:
            scores += [score_ratios(draw.sample(ratios, count))[0] for _ in range(DRAWS)]
    return scores
