"""From measured honest distances to the limits that audits use; the same samples give the same limits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.calibration import HonestNoise
from shared.canonical import sha256_hex
from shared.commitments import Point
from shared.errors import ModelError
from shared.receipts import Receipt
from validator.challenge_selection import MIN_POINTS, draw_points

AUDITS_PER_REQUEST = 25
"""Simulated audits of each request, each of the fewest points that an audit may open: those scores scatter
the most, so the limit holds for audits of more points too."""

LIMIT_QUANTILE = 0.999
SAFETY_FACTOR = 1.5
"""A limit is this quantile of fitted honest scores times this factor. The quantile makes false alarms rare
on the engine that was measured; the factor leaves room for engines that were not: other kernels, other
batches, other devices, all of which round the same bfloat16 numbers differently. docs/CALIBRATION.md."""

MIN_SCALE = 1e-9
"""Below this an honest distance is not told from rounding in the cosine itself."""

MIN_REQUESTS = 8
"""Fewest requests of a half: with fewer a layer's scale rests on a handful of positions."""


@dataclass(frozen=True)
class NoiseSample:
    """What one honest request showed.

    Attributes:
        opened: distance of the sketch at every committed point.
        replayed: distance of the standardised vector at each replayed point.
    """

    receipt: Receipt
    opened: Mapping[Point, float]
    replayed: Mapping[Point, float]


def fit_noise(samples: Sequence[NoiseSample], num_layers: int) -> HonestNoise:
    """Limits fitted on one half of the requests and tried on the other.

    Raises:
        ModelError: there are too few requests.
    """
    fitted, held_out = _halves(samples)
    if min(len(fitted), len(held_out)) < MIN_REQUESTS:
        raise ModelError(
            f"{len(samples)} requests are too few to calibrate with; --requests {4 * MIN_REQUESTS}"
        )
    scale = _layer_scale(fitted, num_layers)
    audit_limit = SAFETY_FACTOR * _quantile(_audit_scores(fitted, scale))
    replay_limit = SAFETY_FACTOR * _quantile(_replay_scores(fitted, scale))
    tried = _audit_scores(held_out, scale)
    return HonestNoise(
        layer_scale=scale,
        audit_limit=audit_limit,
        replay_limit=replay_limit,
        fitted_requests=len(fitted),
        held_out_requests=len(held_out),
        held_out_false_alarms=sum(score > audit_limit for score in tried),
        held_out_highest=max(tried),
    )


def held_out_replays(samples: Sequence[NoiseSample], noise: HonestNoise) -> list[float]:
    """Replay scores of the half that was not fitted on."""
    return _replay_scores(_halves(samples)[1], noise.layer_scale)


def _halves(samples: Sequence[NoiseSample]) -> tuple[list[NoiseSample], list[NoiseSample]]:
    """Alternating requests, in the order of their ids' hashes."""
    ordered = sorted(samples, key=lambda sample: sha256_hex(sample.receipt.request_id.encode()))
    return ordered[0::2], ordered[1::2]


def _layer_scale(samples: Sequence[NoiseSample], num_layers: int) -> tuple[float, ...]:
    """The mean honest distance at each layer; position 0 is not drawn, so it is not counted."""
    totals, counts = [0.0] * num_layers, [0] * num_layers
    for sample in samples:
        for point, distance in sample.opened.items():
            if point.position > 0:
                totals[point.layer - 1] += distance
                counts[point.layer - 1] += 1
    return tuple(max(total / max(count, 1), MIN_SCALE) for total, count in zip(totals, counts, strict=True))


def _audit_scores(samples: Sequence[NoiseSample], scale: Sequence[float]) -> list[float]:
    """Scores of simulated audits, their points drawn as real audits draw them."""
    scores = []
    for sample in samples:
        for number in range(AUDITS_PER_REQUEST):
            seed = sha256_hex(f"{sample.receipt.request_id}|{number}".encode())
            points = draw_points(seed, sample.receipt, MIN_POINTS)
            ratios = [sample.opened[point] / scale[point.layer - 1] for point in points]
            scores.append(sum(ratios) / len(ratios))
    return scores


def _replay_scores(samples: Sequence[NoiseSample], scale: Sequence[float]) -> list[float]:
    return [
        distance / scale[point.layer - 1] for sample in samples for point, distance in sample.replayed.items()
    ]


def _quantile(values: Sequence[float]) -> float:
    """The smallest value that at least LIMIT_QUANTILE of all values do not exceed."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * LIMIT_QUANTILE), len(ordered) - 1)]
