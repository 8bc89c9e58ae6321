"""Miners that are slow whenever everybody is asked: what they are paid for is the speed that they have then.

With many hotkeys on a machine each slows another by little, and pairs are hard to tell. But in a round that
asks everybody the machine works for all of them, and shares of its speed add up to one machine, however
many there are. Let x be a miner's speed in such a round ÷ its speed alone, ÷ the upper eighth of all
members' where that is below 1: what slows everybody, such as the gateway, slows nobody in particular.

    factor = median of x,  where more rounds have x < 0.85 than a fair coin explains at α/3 ÷ number of miners

A miner whose x is at least 0.85 in half of its rounds or more is found so at most once in 30,000 epochs, all
miners together (the exact sign test; Bonferroni). A failed request is an x of 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.comparison import median
from validator.exact_tests import sign_test_p_value
from validator.round_history import RoundOutcome
from validator.scoring_config import ScoringConfig

UPPER_PART = 8
"""Of this many members one is at least as fast as the upper eighth."""


class SlowInFullRounds(Message):
    """A miner that is slow when everybody is asked; `factor` is what its throughput is multiplied by."""

    hotkey: Ss58
    rounds: int
    slow: int
    factor: Annotated[float, Field(ge=0, le=1)]
    p_value: Annotated[float, Field(ge=0, le=1)]


def slow_in_full_rounds(
    outcomes: Sequence[RoundOutcome], miners: Iterable[str], config: ScoringConfig
) -> list[SlowInFullRounds]:
    """Those of `miners` of which it is certain, by hotkey."""
    speeds: dict[str, list[float]] = {hotkey: [] for hotkey in sorted(miners)}
    for one in outcomes:
        if one.full:
            for hotkey, speed in _speeds(one).items():
                speeds.get(hotkey, []).append(speed)
    level = config.probe_family_alpha / 3 / max(1, len(speeds))
    found = [_judged(hotkey, own, config.full_round_speed) for hotkey, own in speeds.items() if own]
    return [one for one in found if one.p_value <= level]


def _speeds(outcome: RoundOutcome) -> Mapping[str, float]:
    """x of each member of whom anything is known."""
    known = {hotkey: speed for hotkey, times in outcome.members.items() if (speed := times.speed) is not None}
    ordered = sorted(known.values(), reverse=True)
    usual = min(1.0, ordered[len(ordered) // UPPER_PART]) if ordered else 1.0
    return {hotkey: speed / usual for hotkey, speed in known.items()} if usual else {}


def _judged(hotkey: str, speeds: Sequence[float], limit: float) -> SlowInFullRounds:
    slow = sum(speed < limit for speed in speeds)
    return SlowInFullRounds(
        hotkey=hotkey,
        rounds=len(speeds),
        slow=slow,
        factor=min(1.0, median(speeds) or 0.0),
        p_value=sign_test_p_value(slow, len(speeds)),
    )
