"""Checks of what a miner answers when challenged against the reference: sketches and replayed vectors.

Pure functions: a check returns a `Finding` when it decides the audit and None (or what it read) when it
holds. Nothing that a miner sends makes anything here raise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.calibration import Calibration
from shared.challenges import ReplayAnswer
from shared.commitments import Opening, Point
from shared.errors import MalformedMessage
from shared.honest_noise import HonestNoise
from shared.sketches import (
    bfloat16_from_bytes,
    cosine_distance,
    decode_base64,
    sketch,
    sketch_from_bytes,
    standardise,
)
from validator.evidence import FAIL_P_VALUE, log_e_value, weigh
from validator.evidence import score_ratios as score_ratios
from validator.findings import Finding, failed
from validator.opening_checks import check_openings as check_openings
from validator.opening_checks import words_of
from validator.verdicts import DECIDED_BY, AuditedPoint, Evidence, Statistic


@dataclass(frozen=True)
class SketchScores:
    """How far the opened sketches lie from the reference.

    Attributes:
        typical: geometric mean of distance / honest scale: a slight error everywhere shows in it.
        mean: arithmetic mean of the same: a large error at a few points shows in it.
        points: each point's distance.
    """

    typical: float
    mean: float
    points: tuple[AuditedPoint, ...]


def score_sketches(
    openings: Sequence[Opening],
    reference: Mapping[Point, Tensor],
    calibration: Calibration,
    noise: HonestNoise,
) -> Finding | SketchScores:
    """Distances of the openings, and their means.

    Args:
        reference: the reference's hidden vector, float32 [hidden_size], of each opened point.
    """
    points, ratios = [], []
    for opening in openings:
        point = opening.point
        try:
            theirs = sketch_from_bytes(opening.sketch)
        except MalformedMessage as error:
            return failed("sketch", f"the sketch at {words_of(point)} is malformed: {error}")
        ours = sketch(reference[point], *calibration.layer(point.layer)).to(torch.float32)
        distance = max(0.0, cosine_distance(theirs, ours))
        points.append(
            AuditedPoint(choice=point.choice, position=point.position, layer=point.layer, distance=distance)
        )
        ratios.append(distance / noise.scale_at(point.layer, point.position))
    return SketchScores(*score_ratios(ratios), tuple(points))


def read_replay(asked: Point, answer: ReplayAnswer, hidden_size: int) -> Finding | Tensor:
    """The replayed vector, float32 [hidden_size]."""
    places = [(vector.position, vector.layer) for vector in answer.vectors]
    if places != [(asked.position, asked.layer)]:
        return failed("replay", f"the vector at {words_of(asked)} was asked for, the answer has {places}")
    try:
        data = decode_base64(answer.vectors[0].vector, hidden_size * 2)
        return bfloat16_from_bytes(data, hidden_size)
    except MalformedMessage as error:
        return failed("replay", f"the replayed vector at {words_of(asked)} is malformed: {error}")


def replay_score(
    vector: Tensor, reference: Tensor, point: Point, calibration: Calibration, noise: HonestNoise
) -> float:
    """Distance of the standardised vectors / honest scale of the place."""
    statistics = calibration.layer(point.layer)
    distance = cosine_distance(standardise(vector, *statistics), standardise(reference, *statistics))
    return max(0.0, distance) / noise.scale_at(point.layer, point.position)


def check_replay_against_opening(
    vector: Tensor, opening: Opening, calibration: Calibration, noise: HonestNoise
) -> Finding | None:
    """Whether the replayed vector and the sketch that was committed at the same point agree."""
    point = opening.point
    ours = sketch(vector, *calibration.layer(point.layer)).to(torch.float32)
    distance = max(0.0, cosine_distance(ours, sketch_from_bytes(opening.sketch)))
    evidence = weigh(noise, "replay", distance / noise.scale_at(point.layer, point.position))
    if evidence.p_value >= FAIL_P_VALUE:
        return None
    reason = (
        f"the replayed vector at {words_of(point)} is not the one that was committed while serving "
        f"({evidence.score:.3g} times an honest distance apart, {rarity(evidence)}); "
        "serve and answer challenges with one engine"
    )
    return Finding("fail", "replay", reason, log_e_value([evidence]), (evidence,))


_ADVICE: Mapping[Statistic, tuple[str, str]] = {
    "typical": (
        "the hidden states are {:.3g} times as far from the reference model's as an honest miner's",
        "serve the exact weights, unquantised",
    ),
    "mean": (
        "some hidden states are far from the reference model's, {:.3g} times an honest distance on average",
        "compute every layer of every token with the exact weights",
    ),
    "replay": (
        "the replayed vector is {:.3g} times as far from the reference model's as an honest miner's",
        "answer challenges with the engine that serves",
    ),
    "tokens": (
        "the output is not what the request's sampling draws from this model; it is {:.3g} times as likely{}",
        "sample with the request's own seed and parameters",
    ),
}


def rarity(evidence: Evidence) -> str:
    """How rare a score is among honest miners, in words."""
    return f"which fewer than one in {1 / evidence.p_value:.2g} honest audits reach"


def check_evidence(evidence: Sequence[Evidence], drawn: str = "") -> Finding | None:
    """Whether every statistic is one that honest miners have.

    Of several that aren't the first is named: hidden states that are wrong explain wrong replays and tokens.

    Args:
        drawn: what explains the output tokens best, such as "at temperature 0.8".
    """
    strange = [one for one in evidence if one.p_value < FAIL_P_VALUE]
    if not strange:
        return None
    first = strange[0]
    words, cure = _ADVICE[first.statistic]
    otherwise = f" drawn {drawn}" if drawn else " drawn otherwise"
    reason = f"{words.format(first.score, otherwise)}, {rarity(first)}; {cure}"
    return failed(DECIDED_BY[first.statistic], reason, log_e_value(evidence))
