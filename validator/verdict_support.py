"""Whether a published verdict is what the model supports, given a repetition of its audit. Pure.

Exact checks must come to the same. Numbers may differ as far as one computation of the reference differs from
another: other processors, libraries and batches add in other orders. `python -m bench.reaudit_noise` measures
how far that is; the bounds here were set by one half of its audits, and hold on the other.
"""

import math
from dataclasses import dataclass

from validator.evidence import FAIL_P_VALUE
from validator.verdicts import Evidence, TokenCheck, Verdict

DISTANCE_FLOOR = 1e-5
"""Distances of single points are no surer than this: sketches are compared in bfloat16."""

SCORE_FLOOR = 0.002
"""Scores are no surer than this: an honest one is about 1."""


@dataclass(frozen=True)
class Tolerances:
    """How far two computations of one reference may be apart.

    Attributes:
        score: of a mean of distances, or a replayed vector's distance, as a share.
        distance: of one point's distance, as a share.
        log_tokens: of the logarithm of the tokens' e-value; a margin at a class's edge falls into the next.
        tokens: so many tokens of one answer may be drawn otherwise.
    """

    score: float
    distance: float
    log_tokens: float
    tokens: int


IN_FLOAT32 = Tolerances(score=0.02, distance=0.1, log_tokens=0.5, tokens=2)
"""`python -m bench.reaudit_noise`: on the half of its audits that these were set by, scores were 0.0008 apart
at most, distances 0.027, tokens not at all. The room above it is for processors and libraries that were not
measured; a score that is 2 % off moves no audit from pass to fail that was not at the edge already.

In bfloat16 distances differ by as much as they are, so an audit with such a reference can't be repeated."""


def support_fault(stated: Verdict, repeated: Verdict, within: Tolerances = IN_FLOAT32) -> str:
    """What of a verdict the model does not support, in words; empty when it supports all of it."""
    if not stated.evidence and not repeated.evidence:
        return _exact_fault(stated, repeated)
    names = [one.statistic for one in stated.evidence]
    found = {one.statistic: one for one in repeated.evidence}
    if names != list(found):
        return (
            f"rests on {', '.join(names) or 'nothing that was compared'}, the model finds "
            f"{', '.join(found) or 'nothing to compare'}: {_ended(repeated)}"
        )
    for one in stated.evidence:
        if fault := _score_fault(one, found[one.statistic], within):
            return fault
    return _points_fault(stated, repeated, within) or _tokens_fault(stated.tokens, repeated.tokens, within)


def _exact_fault(stated: Verdict, repeated: Verdict) -> str:
    if (stated.outcome, stated.check) == (repeated.outcome, repeated.check):
        return ""
    return f"came to {_ended(stated)}, the model comes to {_ended(repeated)}"


def _ended(verdict: Verdict) -> str:
    return f"{verdict.outcome} by the check {verdict.check!r} ({verdict.reason})"


def _score_fault(stated: Evidence, found: Evidence, within: Tolerances) -> str:
    if stated.statistic == "tokens":
        smallest = 1e-300
        apart = abs(math.log(max(stated.score, smallest)) - math.log(max(found.score, smallest)))
        near = apart <= within.log_tokens
    else:
        near = math.isclose(stated.score, found.score, rel_tol=within.score, abs_tol=SCORE_FLOOR)
    if near:
        return ""
    return f"states {stated.statistic} {stated.score:.4g}, the model finds {found.score:.4g}{_means(found)}"


def _means(found: Evidence) -> str:
    return ", which fails an audit" if found.p_value < FAIL_P_VALUE else ""


def _points_fault(stated: Verdict, repeated: Verdict, within: Tolerances) -> str:
    pairs = list(zip(stated.points, repeated.points, strict=False))
    if len(stated.points) != len(repeated.points):
        return f"states {len(stated.points)} distances, the model finds {len(repeated.points)}"
    for one, other in pairs:
        place = (one.choice, one.position, one.layer)
        near = math.isclose(one.distance, other.distance, rel_tol=within.distance, abs_tol=DISTANCE_FLOOR)
        if place != (other.choice, other.position, other.layer) or not near:
            return (
                f"states the distance {one.distance:.3g} at choice {one.choice}, position {one.position}, "
                f"layer {one.layer}, the model finds {other.distance:.3g}"
            )
    return ""


def _tokens_fault(stated: TokenCheck | None, found: TokenCheck | None, within: Tolerances) -> str:
    if stated is None or found is None:
        return "" if stated is found else "differs in whether tokens were checked"
    if stated.checked != found.checked or abs(stated.exact - found.exact) > within.tokens:
        return (
            f"states {stated.exact} of {stated.checked} tokens drawn exactly, the model finds {found.exact} "
            f"of {found.checked}"
        )
    return ""
