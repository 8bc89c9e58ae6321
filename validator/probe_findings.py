"""What an epoch's probes found: published with it, computed again by followers."""

from collections.abc import Iterable, Sequence

from shared.identifiers import Message, Ss58
from validator.cache_probe import CacheUse, cache_use
from validator.comparison import median
from validator.full_rounds import SlowInFullRounds, slow_in_full_rounds
from validator.machine_crowds import InCrowd, find_crowd
from validator.machine_links import Link, find_links
from validator.measurement import EpochInputs
from validator.repeated_commitments import RepeatedCommitment, repeated_commitments
from validator.round_failures import JointFailures, joint_failures
from validator.round_history import RoundHistory, RoundOutcome, carry_rounds, outcomes
from validator.scoring_config import ScoringConfig
from validator.shared_machines import SharedMachine, shared_machines

FEWEST_WIDE = 3
"""Rounds of each kind from which on a miner's concurrency is stated."""


class Concurrency(Message):
    """How much faster a miner is with several requests at once than with one after the other.

    About `wide_round_requests` for an engine that batches, 1 for one that does not.
    """

    hotkey: Ss58
    wide: int
    single: int
    gain: float


class ProbeFindings(Message):
    """Over the newest rounds of probes; hotkeys that are not registered any more are left out.

    Attributes:
        rounds: how many of them there were.
        concurrency: of each miner, as a measurement: it enters no score.
        joint_failures: evidence of a common operator or place; costs nothing.
        cache_use: of each miner in this epoch.
        repeated_commitments: proof of copying; who copies earns nothing in this epoch.
    """

    rounds: int
    links: tuple[Link, ...]
    slow_in_full_rounds: tuple[SlowInFullRounds, ...]
    crowd: tuple[InCrowd, ...]
    shared_machines: tuple[SharedMachine, ...]
    concurrency: tuple[Concurrency, ...]
    joint_failures: tuple[JointFailures, ...]
    cache_use: tuple[CacheUse, ...]
    repeated_commitments: tuple[RepeatedCommitment, ...]

    def cache_of(self, hotkey: str) -> CacheUse | None:
        """What is known of a miner's cache."""
        return next((one for one in self.cache_use if one.hotkey == hotkey), None)

    def slow_of(self, hotkey: str) -> SlowInFullRounds | None:
        """What is known of a miner that is slow when everybody is asked."""
        return next((one for one in self.slow_in_full_rounds if one.hotkey == hotkey), None)

    def machine_factor(self, hotkey: str) -> float:
        """What a miner's throughput is multiplied by: the smaller of what both kinds of rounds say."""
        shared, slow = self.machine_of(hotkey), self.slow_of(hotkey)
        return min(shared.factor if shared else 1.0, slow.factor if slow else 1.0)

    def copy_by(self, hotkey: str) -> RepeatedCommitment | None:
        """The first commitment that a miner copied, if any."""
        return next((one for one in self.repeated_commitments if one.hotkey == hotkey), None)

    def machine_of(self, hotkey: str) -> SharedMachine | None:
        """The machine that a miner shares, if it does."""
        return next((one for one in self.shared_machines if hotkey in one.hotkeys), None)


class ProbeResults(Message):
    """What follows from an epoch's probes, and the rounds that the next epoch starts with."""

    findings: ProbeFindings
    rounds_after: RoundHistory


def probe_results(inputs: EpochInputs, config: ScoringConfig) -> ProbeResults:
    """A pure function of what is published."""
    found = outcomes(inputs.rounds, inputs.requests, config)
    miners = sorted({miner.hotkey for miner in inputs.miners})
    links, slow = find_links(found, miners, config), slow_in_full_rounds(found, miners, config)
    crowd = find_crowd(found, [one.hotkey for one in slow], len(miners), config)
    findings = ProbeFindings(
        rounds=len(found),
        links=tuple(links),
        slow_in_full_rounds=tuple(slow),
        crowd=tuple(crowd),
        shared_machines=tuple(shared_machines(found, links, crowd)),
        concurrency=tuple(_concurrency(found, miners)),
        joint_failures=tuple(joint_failures(found, miners, config)),
        cache_use=tuple(cache_use(inputs.requests, inputs.verdicts, miners)),
        repeated_commitments=tuple(repeated_commitments(inputs.requests)),
    )
    return ProbeResults(findings=findings, rounds_after=carry_rounds(inputs.rounds, found))


def _concurrency(found: Sequence[RoundOutcome], miners: Iterable[str]) -> Iterable[Concurrency]:
    for hotkey in miners:
        speeds = [
            (one.requests_each > 1, speed)
            for one in found
            if not one.full and hotkey in one.members and (speed := one.members[hotkey].speed)
        ]
        wide, single = ([speed for kind, speed in speeds if kind is wanted] for wanted in (True, False))
        if min(len(wide), len(single)) >= FEWEST_WIDE:
            gain = (median(wide) or 0.0) / (median(single) or 1.0)
            yield Concurrency(hotkey=hotkey, wide=len(wide), single=len(single), gain=gain)
