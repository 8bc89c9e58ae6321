"""What honest miners' measurements look like: the part of a calibration file that audits judge by.

Every statistic of an audit gets a p-value: how often an honest miner's would be at least as large. The
body of that distribution is measured; beyond the last measured quantile it is taken for a power law,

    P(score ≥ x) = p₀ (x / x₀)^−k,

with an exponent k that is fitted to the largest honest scores and bounded from above, so that the tail is
heavier than what was measured (peaks over a threshold: Pickands, 1975; the estimator of k: Hill, 1975).
"""

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.identifiers import Message

TAIL_LEVELS = (0.5, 0.2, 0.1, 0.05, 0.02)
"""Share of honest scores above each measured quantile. Rarer ones would rest on a handful of requests."""

SMALLEST_P_VALUE = 1e-30
"""p-values are never below it: no more is to be had from extrapolation, and logarithms stay finite."""

MARGIN_EDGES = (0.0, *(2.0**power for power in range(-7, 6)))
"""Margins of missed tokens are counted in the classes between these, in logits; the last class is open."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, lt=1)]


class HonestTail(Message):
    """The honest distribution of one statistic, as far as p-values need it.

    `quantiles[i]` is exceeded by the share TAIL_LEVELS[i] of honest scores; `exponent` is k.
    """

    quantiles: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]
    exponent: Positive

    @model_validator(mode="after")
    def _ordered(self) -> "HonestTail":
        if len(self.quantiles) != len(TAIL_LEVELS) or self.quantiles[-1] <= 0:
            raise ValueError(f"a tail has {len(TAIL_LEVELS)} quantiles, the last above 0")
        if any(left > right for left, right in pairwise(self.quantiles)):
            raise ValueError("a tail's quantiles never fall")
        return self

    def p_value(self, score: float) -> float:
        """How often an honest score is at least `score`, from SMALLEST_P_VALUE to 1."""
        last = self.quantiles[-1]
        if score >= last:
            beyond = math.log(TAIL_LEVELS[-1]) - self.exponent * math.log(score / last)
            return max(SMALLEST_P_VALUE, math.exp(max(beyond, math.log(SMALLEST_P_VALUE))))
        lower, upper = 0.0, 1.0
        for quantile, level in zip(self.quantiles, TAIL_LEVELS, strict=True):
            if score < quantile:
                share = (score - lower) / (quantile - lower)
                return float(upper ** (1 - share) * level**share)
            lower, upper = quantile, level
        return upper

    def score_at(self, p_value: float) -> float:
        """The score beyond the measured ones whose p-value is `p_value`, at most TAIL_LEVELS[-1]."""
        return float(self.quantiles[-1] * (TAIL_LEVELS[-1] / p_value) ** (1 / self.exponent))


class HonestMargins(Message):
    """How honest output tokens miss what the reference draws.

    `above[i]` bounds the probability that an honest miner's token has a margin above MARGIN_EDGES[i],
    however close to each other the reference's best scores lie; `scale` (logits) and `exponent` are those
    of the law that it was fitted with, `tokens` how many tokens it was fitted to.
    """

    scale: Positive
    exponent: Positive
    above: tuple[Share, ...]
    tokens: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _falling(self) -> "HonestMargins":
        if len(self.above) != len(MARGIN_EDGES):
            raise ValueError(f"there are {len(MARGIN_EDGES)} margin classes above 0")
        if any(left < right for left, right in pairwise(self.above)):
            raise ValueError("the share of margins above an edge never rises from edge to edge")
        return self


class ConditionReport(Message):
    """How honest audits of one kind of engine fared that no limit was fitted on."""

    condition: str
    engine: str
    held_out_requests: Annotated[int, Field(ge=0)]
    held_out_audits: Annotated[int, Field(ge=0)]
    false_alarms: Annotated[int, Field(ge=0)]
    """Audits of which a statistic had a p-value below the limit at which audits fail."""
    lowest_p_value: Annotated[float, Field(gt=0, le=1)]
    exact_tokens: Annotated[float, Field(ge=0, le=1)]
    """Share of output tokens that the reference samples too."""


class HonestNoise(Message):
    """How far honest miners lie from the reference.

    Distances are 1 − cosine between a miner's sketch and the reference's. They are divided by
    `scale[layer − 1][band]`, their geometric mean at honest miners; a position's band is the number of
    `position_bands` that are not above it.
    """

    version: Literal["honest-noise/3"] = "honest-noise/3"
    position_bands: tuple[Annotated[int, Field(ge=1)], ...]
    scale: tuple[tuple[Positive, ...], ...]
    points: Annotated[int, Field(ge=1)]
    """Points that an audit opens: the statistics' distributions hold for this number."""
    typical: HonestTail
    mean: HonestTail
    replay: HonestTail
    margins: HonestMargins
    fitted_requests: int
    conditions: tuple[ConditionReport, ...]

    @model_validator(mode="after")
    def _whole(self) -> "HonestNoise":
        if any(left >= right for left, right in pairwise(self.position_bands)):
            raise ValueError("position bands rise")
        if any(len(row) != len(self.position_bands) + 1 for row in self.scale):
            raise ValueError(f"each layer has {len(self.position_bands) + 1} scales")
        return self

    def scale_at(self, layer: int, position: int) -> float:
        """The honest scale at a layer from 1 and a position."""
        return self.scale[layer - 1][band_of(position, self.position_bands)]


def band_of(position: int, bands: tuple[int, ...]) -> int:
    """Which band a position lies in, from 0."""
    return sum(position >= first for first in bands)
