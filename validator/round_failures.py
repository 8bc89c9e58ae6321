"""Miners that fail in the same rounds more often than chance explains.

For two miners that were both members of a round there are four cases: both failed, one of them, the other,
none. If failures are independent, the number of joint ones is hypergeometric given how often each failed
(Fisher's exact test, one-sided, α ÷ number of pairs). It is published and costs nothing: honest miners in one
data centre fail together, too. That j's being asked *makes* i fail is another matter, and is in
`validator/shared_machines.py`.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Annotated, NamedTuple

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
    taken = {hotkey: _Taken.of(hotkey, outcomes) for hotkey in sorted(miners)}
    level = config.probe_family_alpha / max(1, len(taken) * (len(taken) - 1) // 2)
    failing = [hotkey for hotkey, rounds in taken.items() if rounds.failed.bit_count() >= FEWEST_JOINT]
    found = (_counted(first, second, taken) for first, second in combinations(failing, 2))
    return [one for one in found if one is not None and one.p_value <= level]


class _Taken(NamedTuple):
    """Rounds as bits, by their places: those that say how they went for a miner, and those that failed."""

    known: int
    failed: int

    @classmethod
    def of(cls, hotkey: str, outcomes: Sequence[RoundOutcome]) -> "_Taken":
        known = failed = 0
        for place, one in enumerate(outcomes):
            times = one.members.get(hotkey)
            if times is not None and times.took_ms:
                known |= 1 << place
                failed |= 0 if times.alone_ms else 1 << place
        return cls(known, failed)


def _counted(first: str, second: str, taken: Mapping[str, _Taken]) -> JointFailures | None:
    """None of a pair with too few joint failures."""
    one, other = taken[first], taken[second]
    both = (one.failed & other.failed).bit_count()
    if both < FEWEST_JOINT:
        return None
    rounds = (one.known & other.known).bit_count()
    only_first = (one.failed & other.known).bit_count() - both
    only_second = (one.known & other.failed).bit_count() - both
    return JointFailures(
        hotkeys=(first, second),
        rounds=rounds,
        both=both,
        only_first=only_first,
        only_second=only_second,
        p_value=fisher_p_value(both, only_first, only_second, rounds - both - only_first - only_second),
    )
