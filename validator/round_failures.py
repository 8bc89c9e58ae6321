"""Miners that fail in the same rounds more often than chance explains.

For two miners that were both members of a round there are four cases: both failed, one of them, the other,
none. If failures are independent, the number of joint ones is hypergeometric given how often each failed
(Fisher's exact test, one-sided, α ÷ number of pairs). It is published and costs nothing: honest miners in one
data centre fail together, too. That j's being asked *makes* i fail is another matter, and is in
`validator/shared_machines.py`.
"""

from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.exact_tests import fisher_p_value
from validator.round_history import RoundOutcome
from validator.scoring_config import ScoringConfig

FEWEST_JOINT = 2
"""One joint failure says nothing in so few rounds."""


class JointFailures(Message):
    """Two miners: rounds in which both were asked, and how many of them failed for both, or for one."""

    hotkeys: tuple[Ss58, Ss58]
    rounds: int
    both: int
    only_first: int
    only_second: int
    p_value: Annotated[float, Field(ge=0, le=1)]


def joint_failures(
    outcomes: Sequence[RoundOutcome], miners: Iterable[str], config: ScoringConfig
) -> list[JointFailures]:
    """The pairs of `miners` whose failures are not independent, by hotkeys."""
    known = {
        hotkey: {
            place: not one.members[hotkey].alone_ms
            for place, one in enumerate(outcomes)
            if hotkey in one.members and one.members[hotkey].took_ms
        }
        for hotkey in sorted(miners)
    }
    level = config.probe_family_alpha / max(1, len(known) * (len(known) - 1) // 2)
    failing = [hotkey for hotkey, rounds in known.items() if sum(rounds.values()) >= FEWEST_JOINT]
    found = [
        _counted(first, second, known[first], known[second]) for first, second in combinations(failing, 2)
    ]
    return [one for one in found if one.both >= FEWEST_JOINT and one.p_value <= level]


def _counted(first: str, second: str, one: dict[int, bool], other: dict[int, bool]) -> JointFailures:
    pairs = [(one[place], other[place]) for place in one.keys() & other.keys()]
    both, only_first, only_second, neither = (
        pairs.count(kind) for kind in ((True, True), (True, False), (False, True), (False, False))
    )
    return JointFailures(
        hotkeys=(first, second),
        rounds=len(pairs),
        both=both,
        only_first=only_first,
        only_second=only_second,
        p_value=fisher_p_value(both, only_first, only_second, neither),
    )
