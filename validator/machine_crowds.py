"""Miners that are slow whenever everybody is asked, and are slow because of each other.

Rounds that ask everybody name the suspects (`validator/full_rounds.py`); rounds that ask a drawn half test:
is a suspect the slower, the more of the others are members? That is exact, since other rounds named the
suspects (the test of Jonckheere and Terpstra, `validator/exact_tests.py`; level α/3 ÷ number of miners). A
miner that is slow for reasons of its own is no slower for who else is asked, and stays out.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.exact_tests import trend_p_value
from validator.machine_links import adjusted_speeds, memberships
from validator.round_history import RoundOutcome
from validator.scoring_config import ScoringConfig


class InCrowd(Message):
    """A suspect that is the slower, the more of the others are asked; `rounds` tell so."""

    hotkey: Ss58
    suspects: int
    rounds: int
    p_value: Annotated[float, Field(ge=0, le=1)]


def find_crowd(
    outcomes: Sequence[RoundOutcome], suspects: Iterable[str], miners: int, config: ScoringConfig
) -> list[InCrowd]:
    """Those of `suspects` that slow each other, by hotkey; `miners` is how many there are in all."""
    halves = [one for one in outcomes if not one.full]
    named = frozenset(suspects)
    level = config.probe_family_alpha / 3 / max(1, miners)
    found = (_judged(hotkey, named - {hotkey}, halves) for hotkey in sorted(named))
    return [one for one in found if one.p_value <= level]


def _judged(hotkey: str, others: frozenset[str], halves: Sequence[RoundOutcome]) -> InCrowd:
    groups: dict[int, list[float]] = {}
    for one, speed in adjusted_speeds(memberships(hotkey, halves), frozenset()):
        if others <= one.miners:
            groups.setdefault(len(others & one.members.keys()), []).append(speed)
    ranked = [groups[size] for size in sorted(groups)]
    rounds = sum(len(group) for group in ranked)
    return InCrowd(hotkey=hotkey, suspects=len(others), rounds=rounds, p_value=trend_p_value(ranked))
