"""Which miners slow which.

Members of a round that asks a half are drawn by independent fair coins. So if asking j does not slow i
down, the rounds in which i and j were members are a random choice among i's rounds, and i's speed in them
ranks like its others: the Mann-Whitney test of that is exact (`validator/exact_tests.py`), whatever speeds
depend on: the time of day, the load, the lengths of answers. A failed request counts as speed 0.

i is linked to j when the p-value is at most α ÷ (number of ordered pairs), and α = 10⁻⁴: among honest miners
at most one epoch in 10,000 links anybody (Bonferroni). That holds for each epoch; epochs look at the same
rounds again, so links come in runs, which makes them rarer. Before the test, i's speeds are ÷ their
median over rounds with as many requests and as many *other* slow miners, those whose speed is below 3/4 in
a quarter of their rounds: with four hotkeys on a machine, what one of them adds would be lost in what the
others do. Nothing of that looks at whether j was a member.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.comparison import median
from validator.exact_tests import rank_sum_limit, rank_sum_p_value
from validator.round_history import RoundOutcome
from validator.scoring_config import ScoringConfig

SLOW_PART, SLOW_SPEED = 4, 0.75
"""Miners whose slower quarter of rounds is below this are set apart when the others are compared."""


class Link(Message):
    """A miner that is slower when another is asked too.

    Attributes:
        together, apart: rounds of `slowed` in which `by` was asked too, and was not.
        ratio: median speed together ÷ median speed apart.
    """

    slowed: Ss58
    by: Ss58
    together: int
    apart: int
    ratio: float
    p_value: Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True)
class Membership:
    """One round of a miner, and its speed in it."""

    outcome: RoundOutcome
    speed: float


def find_links(outcomes: Sequence[RoundOutcome], miners: Iterable[str], config: ScoringConfig) -> list[Link]:
    """All links among `miners`, by hotkeys."""
    halves = [one for one in outcomes if not one.full]
    taken = {hotkey: memberships(hotkey, halves) for hotkey in sorted(miners)}
    measured = [hotkey for hotkey, rounds in taken.items() if rounds]
    slow = frozenset(hotkey for hotkey in measured if _is_slow(taken[hotkey]))
    level = config.probe_family_alpha / max(1, len(measured) * (len(measured) - 1))
    return [link for slowed in measured for link in _links(slowed, measured, taken[slowed], slow, level)]


def memberships(hotkey: str, outcomes: Sequence[RoundOutcome]) -> list[Membership]:
    """The rounds that say how fast a miner was."""
    return [
        Membership(one, speed)
        for one in outcomes
        if hotkey in one.members and (speed := one.members[hotkey].speed) is not None
    ]


def _is_slow(rounds: Sequence[Membership]) -> bool:
    """Whether a miner's slower rounds are much slower than it is alone."""
    single = sorted(one.speed for one in rounds if one.outcome.requests_each == 1)
    return bool(single) and single[len(single) // SLOW_PART] < SLOW_SPEED


def _links(
    slowed: str, others: Iterable[str], rounds: Sequence[Membership], slow: frozenset[str], level: float
) -> Iterable[Link]:
    usual = _Ranked(adjusted_speeds(rounds, slow - {slowed}))
    for by in others:
        if by != slowed:
            ranked = _Ranked(adjusted_speeds(rounds, slow - {slowed, by})) if by in slow else usual
            if ranked.is_slower_with(by, level):
                yield _link(slowed, by, ranked.speeds)


def _link(slowed: str, by: str, adjusted: Sequence[tuple[RoundOutcome, float]]) -> Link:
    together, apart = _split(adjusted, by)
    return Link(
        slowed=slowed,
        by=by,
        together=len(together),
        apart=len(apart),
        ratio=(median(together) or 0.0) / (median(apart) or 1.0),
        p_value=rank_sum_p_value(together, apart),
    )


class _Ranked:
    """A miner's rounds in order of its speed, as bits: with 256 miners there are 65,280 pairs to look at.

    Args:
        speeds: rounds, and the miner's adjusted speed in each.
    """

    def __init__(self, speeds: Sequence[tuple[RoundOutcome, float]]) -> None:
        self.speeds = sorted(speeds, key=itemgetter(1))
        self._with: dict[str, int] = {}
        self._possible: dict[frozenset[str], int] = {}
        self._up_to: list[int] = []
        for place, (outcome, speed) in enumerate(self.speeds):
            bit = 1 << place
            self._possible[outcome.miners] = self._possible.get(outcome.miners, 0) | bit
            for hotkey in outcome.members:
                self._with[hotkey] = self._with.get(hotkey, 0) | bit
            reach = bisect_right(self.speeds, speed, key=itemgetter(1))
            self._up_to.append((1 << reach) - 1)

    def is_slower_with(self, by: str, level: float) -> bool:
        """Whether speeds with `by` are lower than those without, at `level`: `rank_sum` counted on bits."""
        together = self._with.get(by, 0)
        apart = sum(bits for miners, bits in self._possible.items() if by in miners) & ~together
        limit = rank_sum_limit(together.bit_count(), apart.bit_count(), level)
        count = 0
        while together and count <= limit:
            lowest = together & -together
            count += (apart & self._up_to[lowest.bit_length() - 1]).bit_count()
            together ^= lowest
        return count <= limit


def _split(speeds: Sequence[tuple[RoundOutcome, float]], by: str) -> tuple[list[float], list[float]]:
    """Speeds in rounds with `by`, and in those without it in which it could have been a member."""
    together = [speed for one, speed in speeds if by in one.members]
    return together, [speed for one, speed in speeds if by in one.miners and by not in one.members]


def adjusted_speeds(rounds: Sequence[Membership], others: frozenset[str]) -> list[tuple[RoundOutcome, float]]:
    """Each round's speed ÷ the median over rounds of its kind: as many requests, and as many of `others`."""
    kinds = [(one.outcome.requests_each, len(others & one.outcome.members.keys())) for one in rounds]
    speeds: dict[tuple[int, int], list[float]] = {}
    for kind, one in zip(kinds, rounds, strict=True):
        speeds.setdefault(kind, []).append(one.speed)
    usual = {kind: median(found) or 1.0 for kind, found in speeds.items()}
    return [(one.outcome, one.speed / usual[kind]) for kind, one in zip(kinds, rounds, strict=True)]
