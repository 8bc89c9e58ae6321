"""Which requests of an epoch are audited: decided by their draws and by how the audits before them ended.

For each hotkey its answers are put in the order of their draws. Audited is a run from the smallest draw on,
as far as one of these reaches:

* every draw below the hotkey's audit rate (`validator.audit_rate`);
* `min_audits` audits that end in pass or fail: an inconclusive one is made up for by the next draw, so
  nobody hides behind audits that decide nothing;

but no farther than `max_audits`, or the `enough_fails`-th failed one. What remains in the end depends on
no order of work: the run up to which all have verdicts, and which asks for no more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from validator.audit_rate import audit_rate
from validator.request_state import DrawnRequest
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, Standing


@dataclass(frozen=True)
class AuditPlan:
    """What is to be audited of one epoch.

    Attributes:
        standings: the tests by hotkey as the epoch before left them; None while that one is not sealed.
        complete: every request of the epoch is known and drawn, so that the minimum can be filled up.
    """

    standings: Mapping[str, Standing] | None
    complete: bool


def required(requests: Iterable[DrawnRequest], plan: AuditPlan, config: ScoringConfig) -> list[DrawnRequest]:
    """The requests whose audits the rule asks for, made or not, in the order in which to make them.

    The order goes round the miners, those with the fewest failed audits first, so that none waits for the
    many audits of another, or for one that does not answer. While standings are unknown, only what is
    drawn below the floor is asked for: that will be, whatever they are.
    """
    by_miner = sorted(requests, key=lambda one: (one.key[1], one.draw, one.key[0]))
    ordered: list[tuple[int, int, float, DrawnRequest]] = []
    for hotkey, own in groupby(by_miner, key=lambda one: one.key[1]):
        run = _run(list(own), _standing(plan, hotkey), plan.complete, config)
        fails = sum(one.outcome == "fail" for one in run)
        ordered += ((fails, place, one.draw, one) for place, one in enumerate(run))
    return [request for *_, request in sorted(ordered, key=lambda one: (*one[:3], one[3].key))]


def _standing(plan: AuditPlan, hotkey: str) -> Standing | None:
    return None if plan.standings is None else plan.standings.get(hotkey, NEWCOMER)


def _run(
    ranked: Sequence[DrawnRequest], standing: Standing | None, complete: bool, config: ScoringConfig
) -> Sequence[DrawnRequest]:
    """The run of one hotkey: lengthened until the verdicts in it ask for no more."""
    length, longer = 0, _length(ranked, 0, standing, complete, config)
    while longer > length:
        length, longer = longer, _length(ranked, longer, standing, complete, config)
    return ranked[:length]


def _length(
    ranked: Sequence[DrawnRequest],
    audited: int,
    standing: Standing | None,
    complete: bool,
    config: ScoringConfig,
) -> int:
    """How far the run reaches, by the verdicts among its first `audited` requests."""
    ended = [(one.outcome, one.log_e) for one in ranked[:audited] if one.outcome is not None]
    rate = config.audit_rate_floor if standing is None else audit_rate(standing, ended, config)
    below = sum(one.draw < rate for one in ranked)
    filled = _filled(ranked, config.min_audits) if complete else 0
    return min(max(below, filled), config.max_audits, _enough(ranked, config.enough_fails))


def _enough(ranked: Sequence[DrawnRequest], fails: int) -> int:
    """Length of the shortest run with so many failed audits, or of the whole."""
    places = [place for place, one in enumerate(ranked, start=1) if one.outcome == "fail"]
    return places[fails - 1] if len(places) >= fails else len(ranked)


def _filled(ranked: Sequence[DrawnRequest], minimum: int) -> int:
    """Length of the shortest run with `minimum` requests that are not inconclusive, or of the whole."""
    places = [place for place, one in enumerate(ranked, start=1) if one.outcome != "inconclusive"]
    return places[minimum - 1] if len(places) >= minimum else len(ranked)
