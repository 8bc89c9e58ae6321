"""How far the verdicts of one computation of the reference are from those of another."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from validator.verdict_support import DISTANCE_FLOOR, support_fault
from validator.verdicts import Verdict

HEAD = (
    "reference", "half", "audits", "mean or replay, share", "distance, share", "ln e of tokens",
    "exact tokens", "not supported",
)  # fmt: skip

_VERDICTS = TypeAdapter(list[Verdict])


@dataclass(frozen=True)
class Apart:
    """How far one audit is apart under two conditions, at most over its parts.

    Attributes:
        score: of means of distances and of the replayed vector, as a share.
        distance: of single points, as a share, of those above the floor.
        log_tokens: of the logarithm of the tokens' e-value.
        tokens: how many more or fewer tokens are drawn exactly.
    """

    score: float
    distance: float
    log_tokens: float
    tokens: int


def compare(name: str, stated: str, found: str) -> list[tuple[str, ...]]:
    """Rows of the table: the most over each half of the audits, and how many are not supported.

    Args:
        stated, found: verdicts as JSON.
    """
    pairs = list(zip(_VERDICTS.validate_json(stated), _VERDICTS.validate_json(found), strict=True))
    half = len(pairs) // 2
    return [_row(name, "first", pairs[:half]), _row(name, "second", pairs[half:])]


def _row(name: str, half: str, pairs: Sequence[tuple[Verdict, Verdict]]) -> tuple[str, ...]:
    apart = [_apart(one, other) for one, other in pairs if one.points and other.points]
    refused = sum(bool(support_fault(one, other)) for one, other in pairs)
    return (
        name,
        half,
        f"{len(apart)}",
        f"{max(one.score for one in apart):.5f}",
        f"{max(one.distance for one in apart):.4f}",
        f"{max(one.log_tokens for one in apart):.4f}",
        f"{max(one.tokens for one in apart)}",
        f"{refused}",
    )


def _apart(stated: Verdict, found: Verdict) -> Apart:
    scores = {one.statistic: one.score for one in stated.evidence}
    others = {one.statistic: one.score for one in found.evidence}
    states = [name for name in ("typical", "mean", "replay") if name in scores and name in others]
    points = [
        _share(one.distance, other.distance)
        for one, other in zip(stated.points, found.points, strict=True)
        if max(one.distance, other.distance) > DISTANCE_FLOOR
    ]
    exact = [one.tokens.exact if one.tokens else 0 for one in (stated, found)]
    return Apart(
        max(_share(scores[name], others[name]) for name in states),
        max(points, default=0.0),
        abs(_log(scores.get("tokens", 1.0)) - _log(others.get("tokens", 1.0))),
        abs(exact[0] - exact[1]),
    )


def _share(one: float, other: float) -> float:
    return abs(one - other) / max(one, other)


def _log(score: float) -> float:
    return math.log(max(score, 1e-300))
