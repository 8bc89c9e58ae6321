"""How far miners that slow each other (`validator/machine_links.py`) are one machine.

Linked miners are one group. In a round that asks a half, with at least two of the group, let each member's
time alone be what its answers took when no other of the group was asked. Separate machines are done after the
longest of these times, one machine, in whatever order it works, after their sum. With

    s = median over those rounds of (time until the last had ended − longest) ÷ (sum − longest), within [0, 1]

a group of g is as 1 + (g − 1)·(1 − s) machines are. It is evidence, and costs nothing: what hotkeys of one
machine are paid together follows from what they do in full rounds (`validator/full_rounds.py`).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.comparison import median
from validator.machine_links import Link
from validator.round_history import RoundOutcome

FEWEST_ALONE = 3
"""Rounds without others of the group from which on they say what a member's time alone is."""


class SharedMachine(Message):
    """Miners that are linked; `overlap` is s, and `machines` how many machines they are like."""

    hotkeys: tuple[Ss58, ...]
    overlap: Annotated[float, Field(ge=0, le=1)]
    machines: Annotated[float, Field(ge=1)]


def shared_machines(outcomes: Sequence[RoundOutcome], links: Iterable[Link]) -> list[SharedMachine]:
    """The groups of linked miners, and what follows for them."""
    halves = [one for one in outcomes if not one.full]
    return [_shared(group, halves) for group in _groups((link.slowed, link.by) for link in links)]


def _groups(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, ...]]:
    """Connected components."""
    group: dict[str, set[str]] = {}
    for one, other in pairs:
        joined = group.get(one, {one}) | group.get(other, {other})
        group |= dict.fromkeys(joined, joined)
    return sorted({tuple(sorted(one)) for one in group.values()})


def _shared(hotkeys: tuple[str, ...], outcomes: Sequence[RoundOutcome]) -> SharedMachine:
    present = [(one, [hotkey for hotkey in hotkeys if hotkey in one.members]) for one in outcomes]
    usual = _usual_alone(hotkeys, present)
    together = [(one, group) for one, group in present if len(group) > 1]
    found = [_overlap(one, group, usual) for one, group in together]
    overlap = median(one for one in found if one is not None) or 0.0
    machines = 1 + (len(hotkeys) - 1) * (1 - overlap)
    return SharedMachine(hotkeys=hotkeys, overlap=overlap, machines=machines)


def _usual_alone(
    hotkeys: Iterable[str], present: Sequence[tuple[RoundOutcome, Sequence[str]]]
) -> Mapping[tuple[str, int], float]:
    """Median speeds of members in rounds without others of the group, by (hotkey, requests of each)."""
    speeds: dict[tuple[str, int], list[float]] = {}
    for one, group in present:
        if len(group) == 1 and (speed := one.members[group[0]].speed):
            speeds.setdefault((group[0], one.requests_each), []).append(speed)
    usual = {(hotkey, 1): 1.0 for hotkey in hotkeys}
    return usual | {key: median(found) or 1.0 for key, found in speeds.items() if len(found) >= FEWEST_ALONE}


def _overlap(
    outcome: RoundOutcome, group: Sequence[str], usual: Mapping[tuple[str, int], float]
) -> float | None:
    """s of one round; None when it says nothing."""
    members = [(outcome.members[hotkey], usual.get((hotkey, outcome.requests_each))) for hotkey in group]
    if any(times.took_ms and not times.alone_ms for times, _ in members):
        return 1.0
    alone_ms = [times.alone_ms / faster for times, faster in members if times.took_ms and faster]
    if len(alone_ms) < 2:
        return None
    longest_ms = max(alone_ms)
    took_ms = max(times.took_ms for times, _ in members)
    return min(1.0, max(0.0, (took_ms - longest_ms) / (math.fsum(alone_ms) - longest_ms)))
