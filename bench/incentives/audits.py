"""How an audit of an answer ends: scores drawn from the calibration's tails, judged by the real evidence."""

import math
import random
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.incentives.cheats import Cheat, Exposed, Trace
from shared.calibration_header import parse_header, read_file
from shared.honest_noise import (
    MARGIN_EDGES,
    SMALLEST_P_VALUE,
    TAIL_LEVELS,
    HonestMargins,
    HonestNoise,
    HonestTail,
)
from validator.evidence import FAIL_P_VALUE, log_e_value, weigh
from validator.evidence_families import family_ratios
from validator.verdicts import Statistic, VerdictOutcome

STATISTICS: tuple[Statistic, ...] = ("typical", "mean", "replay", "tokens")

_TAIL = HonestTail(quantiles=(1.0, 1.3, 1.45, 1.6, 1.75), exponent=4.0)
STAND_IN_NOISE = HonestNoise(
    position_bands=(),
    scale=((1.0,),),
    points=8,
    typical=_TAIL,
    mean=_TAIL,
    replay=_TAIL,
    margins=HonestMargins(
        scale=0.1, exponent=2.0, above=tuple(0.1 * 0.5**n for n in range(len(MARGIN_EDGES))), tokens=1000
    ),
    fitted_requests=1,
    conditions=(),
)
"""Tails as small models have them, for a calibration file that holds no noise."""


@dataclass(frozen=True)
class Ending:
    """How an audit ended: its outcome, what it counts as a whole, and by family.

    Tokens are drawn as one score, so families of tokens have no ratio: the network's test is no weaker.
    """

    outcome: VerdictOutcome
    log_e: float
    ratios: Mapping[str, float]


def read_noise(file: Path) -> HonestNoise | None:
    """The honest noise of a calibration file; None when it holds none.

    Raises:
        ModelError: the file is missing or damaged.
    """
    return parse_header(read_file(file)).noise


def score_of(tail: HonestTail, p_value: float) -> float:
    """The score whose p-value under `tail` is `p_value`: the inverse of `HonestTail.p_value`."""
    if p_value <= TAIL_LEVELS[-1]:
        return tail.score_at(p_value)
    place = bisect_left(TAIL_LEVELS, -p_value, key=lambda level: -level)
    upper, level = (TAIL_LEVELS[place - 1] if place else 1.0), TAIL_LEVELS[place]
    lower, quantile = (tail.quantiles[place - 1] if place else 0.0), tail.quantiles[place]
    return lower + (quantile - lower) * math.log(p_value / upper) / math.log(level / upper)


class Audits:
    """Audits under one calibration."""

    def __init__(self, noise: HonestNoise) -> None:
        self._noise = noise
        self._tails: dict[Statistic, HonestTail] = {
            "typical": noise.typical,
            "mean": noise.mean,
            "replay": noise.replay,
        }

    def ending(self, trace: Trace, chance: random.Random) -> Ending:
        """Audit one answer.

        An honest score is as large as the calibration says, no smaller: on most honest engines it is.
        """
        if isinstance(trace, Exposed):
            return Ending("fail", trace.log_e, {})
        p_values = {statistic: 1.0 - chance.random() for statistic in STATISTICS}
        if trace is not None:
            p_values[trace.statistic] = _telling(trace, chance)
        evidence = [
            weigh(self._noise, statistic, self._score(statistic, p_value))
            for statistic, p_value in p_values.items()
        ]
        failed = min(one.p_value for one in evidence) < FAIL_P_VALUE
        ratios = family_ratios(tuple(evidence), None, self._noise.margins)
        return Ending("fail" if failed else "pass", log_e_value(evidence), ratios)

    def _score(self, statistic: Statistic, p_value: float) -> float:
        """Tokens' e-values are as large as ones with mean 1 can be that exceed x in x⁻² of audits."""
        if statistic == "tokens":
            return 0.5 / math.sqrt(p_value)
        return score_of(self._tails[statistic], p_value)


def _telling(cheat: Cheat, chance: random.Random) -> float:
    logarithm = chance.gauss(math.log10(cheat.p_value), cheat.decades) * math.log(10.0)
    return min(1.0, max(SMALLEST_P_VALUE, math.exp(logarithm)))
