"""From measured honest requests to the distributions that audits judge by.

Half of the requests of each condition (engine settings) are fitted on; the other half only reports. Where
conditions differ, the one that reaches further decides, so that every honest engine is inside.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from shared.canonical import sha256_hex
from shared.challenges import MAX_REPLAY_POINTS
from shared.commitments import Point
from shared.errors import ModelError
from shared.honest_noise import (
    TAIL_LEVELS,
    ConditionReport,
    HonestMargins,
    HonestNoise,
    HonestTail,
    band_of,
)
from shared.receipts import Receipt
from validator.calibration_margins import fit_margins
from validator.challenge_selection import DEFAULT_POINTS, draw_points
from validator.evidence import FAIL_P_VALUE, weigh
from validator.token_evidence import token_score
from validator.token_reading import TokenReading, token_check
from validator.verification import score_ratios

POSITION_BANDS = (4, 16, 64)
"""Honest noise falls over the first tokens, which attend to few others, and is level after some dozens."""

AUDITS_PER_REQUEST = 5
"""Simulated audits of each request, points drawn as real audits draw them. More would only repeat them."""

LARGEST_EXPONENT = 8.0
"""Bound on a tail's exponent: a sharper fall than (x/x₀)⁻⁸ is not believed, however the fit comes out."""

LEAST_EXPONENT = 0.5
"""What is taken for the exponent when there is too little to fit it to."""

TAIL_SHARE = 0.1
"""Share of the largest scores that an exponent is fitted to."""

SMALLEST_TAIL = 10
"""Fewest scores that an exponent is fitted to."""

SMALLEST_SCORE = 1e-3

SMALLEST_DISTANCE = 1e-9
"""Below this an honest distance is not told from rounding in the cosine itself."""

MIN_REQUESTS = 8
"""Fewest requests of a half: with fewer a scale rests on a handful of positions."""


@dataclass(frozen=True)
class NoiseSample:
    """What one honest request showed.

    Attributes:
        opened: distance of the sketch at every committed point.
        replayed: distance of the standardised vector at each replayed point.
        tokens: what the reference's logits say of every output token.
    """

    receipt: Receipt
    opened: Mapping[Point, float]
    replayed: Mapping[Point, float]
    tokens: TokenReading


@dataclass(frozen=True)
class ConditionSamples:
    """What was measured of one kind of engine; `name` says which, `engine` what it calls itself."""

    name: str
    engine: str
    samples: Sequence[NoiseSample]

    def halves(self) -> tuple[list[NoiseSample], list[NoiseSample]]:
        """(fitted, held out): alternating requests, in the order of their ids' hashes."""
        ordered = sorted(self.samples, key=lambda one: sha256_hex(one.receipt.request_id.encode()))
        return ordered[0::2], ordered[1::2]


@dataclass(frozen=True)
class AuditScores:
    """The statistics of simulated audits, by name."""

    typical: list[float]
    mean: list[float]
    replay: list[float]
    tokens: list[float]


def fit_noise(conditions: Sequence[ConditionSamples], num_layers: int) -> HonestNoise:
    """Distributions fitted on one half of each condition's requests and tried on the other.

    Raises:
        ModelError: there are too few requests.
    """
    halves = [condition.halves() for condition in conditions]
    if not halves or min(len(half) for pair in halves for half in pair) < MIN_REQUESTS:
        raise ModelError(f"too few requests to calibrate with; take --requests {4 * MIN_REQUESTS} or more")
    fitted = [pair[0] for pair in halves]
    scale = honest_scales(fitted, num_layers)
    margins = fit_margins([[sample.tokens for sample in half] for half in fitted])
    scores = [audit_scores(half, scale, margins) for half in fitted]
    noise = HonestNoise(
        position_bands=POSITION_BANDS,
        scale=scale,
        points=DEFAULT_POINTS,
        typical=envelope([one.typical for one in scores], LARGEST_EXPONENT, AUDITS_PER_REQUEST),
        mean=envelope([one.mean for one in scores], LARGEST_EXPONENT, AUDITS_PER_REQUEST),
        replay=envelope([one.replay for one in scores], LARGEST_EXPONENT, MAX_REPLAY_POINTS),
        margins=margins,
        fitted_requests=sum(len(half) for half in fitted),
        conditions=(),
    )
    reports = [_report(one, pair[1], noise) for one, pair in zip(conditions, halves, strict=True)]
    return noise.model_copy(update={"conditions": tuple(reports)})


def honest_scales(
    conditions: Sequence[Sequence[NoiseSample]], num_layers: int
) -> tuple[tuple[float, ...], ...]:
    """By layer and band, the noisiest condition's geometric mean of distances.

    A float32 engine is a thousand times nearer to the reference than a bfloat16 one: a mean over both would
    suit neither. Position 0 is not drawn, so not counted. A band without a position in the data takes the
    scale of the one before.
    """
    each = [_condition_scales(samples, num_layers) for samples in conditions]
    return tuple(
        tuple(max(of_band) for of_band in zip(*of_layer, strict=True)) for of_layer in zip(*each, strict=True)
    )


def _condition_scales(samples: Sequence[NoiseSample], num_layers: int) -> list[tuple[float, ...]]:
    bands = len(POSITION_BANDS) + 1
    logs: list[list[list[float]]] = [[[] for _ in range(bands)] for _ in range(num_layers)]
    for sample in samples:
        for point, distance in sample.opened.items():
            if point.position > 0:
                band = band_of(point.position, POSITION_BANDS)
                logs[point.layer - 1][band].append(math.log(max(distance, SMALLEST_DISTANCE)))
    return [_row(layer) for layer in logs]


def _row(bands: Sequence[Sequence[float]]) -> tuple[float, ...]:
    everything = list(chain(*bands))
    fallback = math.exp(sum(everything) / max(len(everything), 1))
    row: list[float] = []
    for values in bands:
        own = math.exp(sum(values) / len(values)) if values else None
        row.append(own or (row[-1] if row else fallback))
    return tuple(row)


def audit_scores(
    samples: Sequence[NoiseSample], scale: Sequence[Sequence[float]], margins: HonestMargins
) -> AuditScores:
    """Statistics of simulated audits."""

    def ratio(point: Point, distance: float) -> float:
        return distance / scale[point.layer - 1][band_of(point.position, POSITION_BANDS)]

    scores = AuditScores([], [], [], [])
    for sample in samples:
        for number in range(AUDITS_PER_REQUEST):
            seed = sha256_hex(f"{sample.receipt.request_id}|{number}".encode())
            points = draw_points(seed, sample.receipt, DEFAULT_POINTS)
            typical, mean = score_ratios([ratio(point, sample.opened[point]) for point in points])
            scores.typical.append(typical)
            scores.mean.append(mean)
        scores.replay.extend(ratio(point, distance) for point, distance in sample.replayed.items())
        if sample.tokens.margins:
            scores.tokens.append(token_score(token_check(sample.tokens), margins))
    return scores


def envelope(
    conditions: Sequence[Sequence[float]], largest_exponent: float, scores_per_request: int = 1
) -> HonestTail:
    """Quantiles as large as those of any condition, and one exponent of all scores together.

    A condition by itself has too few requests for its tail's shape. Scores of one request resemble each
    other, so they count as one where it matters how sure the exponent is.
    """
    tails = [[_quantile(scores, level) for level in TAIL_LEVELS] for scores in conditions if scores]
    quantiles = [max(tail[number] for tail in tails) for number in range(len(TAIL_LEVELS))]
    pooled = [score for scores in conditions for score in scores]
    exponent = _exponent(pooled, scores_per_request, largest_exponent)
    return HonestTail(quantiles=tuple(max(one, SMALLEST_SCORE) for one in quantiles), exponent=exponent)


def _quantile(scores: Sequence[float], above: float) -> float:
    """The score that the share `above` of all scores exceeds."""
    ordered = sorted(scores)
    return ordered[min(int(len(ordered) * (1 - above)), len(ordered) - 1)]


def _exponent(scores: Sequence[float], scores_per_request: int, largest: float) -> float:
    """Hill's estimate from the largest scores, less one standard error, from 0.5 to `largest`."""
    count = max(SMALLEST_TAIL, int(len(scores) * TAIL_SHARE))
    top = sorted(max(score, SMALLEST_SCORE) for score in scores)[-count - 1 :]
    if len(top) <= SMALLEST_TAIL:
        return LEAST_EXPONENT
    excess = sum(math.log(score / top[0]) for score in top[1:]) / count
    estimate = 1 / max(excess, 1 / (2 * largest))
    error = math.sqrt(scores_per_request / count)
    return max(LEAST_EXPONENT, min(largest, estimate * (1 - error)))


def _report(
    condition: ConditionSamples, held_out: Sequence[NoiseSample], noise: HonestNoise
) -> ConditionReport:
    scores = audit_scores(held_out, noise.scale, noise.margins)
    audits = _audit_p_values(scores, noise)
    margins = [margin for sample in held_out for margin in sample.tokens.margins]
    return ConditionReport(
        condition=condition.name,
        engine=condition.engine,
        held_out_requests=len(held_out),
        held_out_audits=len(audits),
        false_alarms=sum(one < FAIL_P_VALUE for one in audits),
        lowest_p_value=min(audits),
        exact_tokens=sum(margin == 0 for margin in margins) / max(len(margins), 1),
    )


def _audit_p_values(scores: AuditScores, noise: HonestNoise) -> list[float]:
    """The least likely statistic of each simulated audit; replays and tokens stand for themselves."""
    return [
        *map(min, map(noise.typical.p_value, scores.typical), map(noise.mean.p_value, scores.mean)),
        *map(noise.replay.p_value, scores.replay),
        *(weigh(noise, "tokens", score).p_value for score in scores.tokens),
    ]
