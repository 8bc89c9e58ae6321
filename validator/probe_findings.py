"""What an epoch's probes found: published with it, computed again by followers."""

from collections.abc import Iterable, Sequence

from shared.identifiers import Message, Ss58
from validator.cache_probe import CacheUse, cache_use
from validator.comparison import median
from validator.full_rounds import WorkDone, work_done
from validator.machine_links import Link, find_links
from validator.measurement import EpochInputs
from validator.reliability import reliabilities
from validator.repeated_commitments import RepeatedCommitment, repeated_commitments
from validator.round_failures import JointFailures, joint_failures
from validator.round_history import EpochRounds, RoundHistory, RoundOutcome, carry_rounds, read_rounds
from validator.round_times import Times
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
        work: what each miner did in this epoch's full rounds: it is paid for that.
        links, shared_machines: evidence of hotkeys on one machine; what that costs is in `work`.
        concurrency: of each miner, as a measurement: it enters no score.
        joint_failures: evidence of a common operator or place; costs nothing.
        cache_use: of each miner in this epoch.
        repeated_commitments: proof of copying; who copies earns nothing in this epoch.
    """

    rounds: int
    work: tuple[WorkDone, ...]
    links: tuple[Link, ...]
    shared_machines: tuple[SharedMachine, ...]
    concurrency: tuple[Concurrency, ...]
    joint_failures: tuple[JointFailures, ...]
    cache_use: tuple[CacheUse, ...]
    repeated_commitments: tuple[RepeatedCommitment, ...]

    def cache_of(self, hotkey: str) -> CacheUse | None:
        """What is known of a miner's cache."""
        return next((one for one in self.cache_use if one.hotkey == hotkey), None)

    def work_of(self, hotkey: str) -> WorkDone | None:
        """What a miner did in full rounds, if it was asked in any."""
        return next((one for one in self.work if one.hotkey == hotkey), None)

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
    rounds = read_rounds(inputs.rounds, inputs.requests, config)
    found = rounds.newest(config)
    miners = sorted({miner.hotkey for miner in inputs.miners})
    work = _work(inputs, rounds, miners, config)
    links = find_links(found, miners, config)
    findings = ProbeFindings(
        rounds=len(found),
        work=tuple(work),
        links=tuple(links),
        shared_machines=tuple(shared_machines(found, links)),
        concurrency=tuple(_concurrency(found, miners)),
        joint_failures=tuple(joint_failures(found, miners, config)),
        cache_use=tuple(cache_use(inputs.requests, inputs.verdicts, miners)),
        repeated_commitments=tuple(repeated_commitments(inputs.requests)),
    )
    done = [{one.hotkey: Times(one.work_ms, one.asked_ms) for one in work if one.rounds}]
    newest = [one for one in [*done, *inputs.rounds.history.work_before()] if one][: config.work_window]
    return ProbeResults(findings=findings, rounds_after=carry_rounds(inputs.rounds, found, newest))


def _work(
    inputs: EpochInputs, rounds: EpochRounds, miners: Sequence[str], config: ScoringConfig
) -> list[WorkDone]:
    reliable = reliabilities(inputs.requests, inputs.refusals, config)
    failing = {hotkey: 1.0 - one.share for hotkey, one in reliable.items()}
    before = inputs.rounds.history.work_before()
    done = work_done(rounds.spells, before, failing, rounds.usual, config)
    return [one for one in done if one.hotkey in miners]


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
