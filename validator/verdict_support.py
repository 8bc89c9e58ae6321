"""Whether a published verdict is what the model supports, given a repetition of its audit. Pure.

Exact checks must come to the same. Numbers may differ as far as one computation of the reference differs from
another: other processors, libraries and batches add in other orders. `python -m bench.reaudit_noise` measures
how far that is; the bounds here were set by one half of its audits, and hold on the other.
"""

import math

from validator.evidence import FAIL_P_VALUE
from validator.verdicts import Evidence, TokenCheck, Verdict

SCORE_TOLERANCE = 0.02
"""Share of itself by which a mean of distances, or a replayed vector's distance, may differ."""

SCORE_FLOOR = 0.002
"""Scores are no surer than this: an honest one is about 1."""

DISTANCE_TOLERANCE = 0.1
"""The same of one point's distance."""

DISTANCE_FLOOR = 1e-5
"""Distances are no surer than this: sketches are compared in bfloat16."""

LOG_SCORE_TOLERANCE = 0.5
"""By so much may the logarithm of the tokens' e-value differ, and by so many tokens' margins that lie at the
edge of a class."""

TOKENS_TOLERANCE = 2
"""So many tokens of one answer may be drawn otherwise, or have their margin in the next class."""


def support_fault(stated: Verdict, repeated: Verdict) -> str:
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
        if fault := _score_fault(one, found[one.statistic]):
            return fault
    return _points_fault(stated, repeated) or _tokens_fault(stated.tokens, repeated.tokens)


def _exact_fault(stated: Verdict, repeated: Verdict) -> str:
    if (stated.outcome, stated.check) == (repeated.outcome, repeated.check):
        return ""
    return f"came to {_ended(stated)}, the model comes to {_ended(repeated)}"


def _ended(verdict: Verdict) -> str:
    return f"{verdict.outcome} by the check {verdict.check!r} ({verdict.reason})"


def _score_fault(stated: Evidence, found: Evidence) -> str:
    if stated.statistic == "tokens":
        smallest = 1e-300
        apart = abs(math.log(max(stated.score, smallest)) - math.log(max(found.score, smallest)))
        within = apart <= LOG_SCORE_TOLERANCE
    else:
        within = math.isclose(stated.score, found.score, rel_tol=SCORE_TOLERANCE, abs_tol=SCORE_FLOOR)
    if within:
        return ""
    return f"states {stated.statistic} {stated.score:.4g}, the model finds {found.score:.4g}{_means(found)}"


def _means(found: Evidence) -> str:
    return ", which fails an audit" if found.p_value < FAIL_P_VALUE else ""


def _points_fault(stated: Verdict, repeated: Verdict) -> str:
    pairs = list(zip(stated.points, repeated.points, strict=False))
    if len(stated.points) != len(repeated.points):
        return f"states {len(stated.points)} distances, the model finds {len(repeated.points)}"
    for one, other in pairs:
        place = (one.choice, one.position, one.layer)
        near = math.isclose(one.distance, other.distance, rel_tol=DISTANCE_TOLERANCE, abs_tol=DISTANCE_FLOOR)
        if place != (other.choice, other.position, other.layer) or not near:
            return (
                f"states the distance {one.distance:.3g} at choice {one.choice}, position {one.position}, "
                f"layer {one.layer}, the model finds {other.distance:.3g}"
            )
    return ""


def _tokens_fault(stated: TokenCheck | None, found: TokenCheck | None) -> str:
    if stated is None or found is None:
        return "" if stated is found else "differs in whether tokens were checked"
    if stated.checked != found.checked or abs(stated.exact - found.exact) > TOKENS_TOLERANCE:
        return (
            f"states {stated.exact} of {stated.checked} tokens drawn exactly, the model finds {found.exact} "
            f"of {found.checked}"
        )
    return ""
