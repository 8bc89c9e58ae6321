"""Audit results of earlier epochs: they follow the hotkey, whatever its uid, and expire."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.verdicts import Verdict

Tally = Annotated[int, Field(ge=0)]


class AuditCounts(Message):
    """How many audits of one hotkey ended how."""

    passes: Tally
    fails: Tally
    inconclusive: Tally


class EpochTally(AuditCounts):
    """Counts of one epoch."""

    epoch: Tally


class MinerHistory(Message):
    """One hotkey's tallies, oldest epoch first."""

    hotkey: Ss58
    tallies: tuple[EpochTally, ...]


NO_AUDITS = AuditCounts(passes=0, fails=0, inconclusive=0)


def count_verdicts(verdicts: Iterable[Verdict]) -> AuditCounts:
    """Count outcomes."""
    outcomes = [verdict.outcome for verdict in verdicts]
    return AuditCounts(
        passes=outcomes.count("pass"),
        fails=outcomes.count("fail"),
        inconclusive=outcomes.count("inconclusive"),
    )


def sum_tallies(tallies: Iterable[AuditCounts]) -> AuditCounts:
    """Counts over several epochs."""
    counts = list(tallies)
    return AuditCounts(
        passes=sum(one.passes for one in counts),
        fails=sum(one.fails for one in counts),
        inconclusive=sum(one.inconclusive for one in counts),
    )


def within_window(history: MinerHistory, epoch: int, window: int) -> tuple[EpochTally, ...]:
    """The tallies of the `window` epochs before `epoch`."""
    return tuple(tally for tally in history.tallies if epoch - window <= tally.epoch < epoch)


def carry_history(
    history: Sequence[MinerHistory], epoch: int, verdicts: Sequence[Verdict], window: int
) -> tuple[MinerHistory, ...]:
    """The history that the epoch after `epoch` starts with, by hotkey.

    A hotkey without an audit in the window disappears; leaving the subnet and coming back changes nothing.
    """
    tallies = {one.hotkey: one.tallies for one in history}
    fresh: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        fresh.setdefault(verdict.miner_hotkey, []).append(verdict)
    for hotkey, own in fresh.items():
        counted = EpochTally(epoch=epoch, **dict(count_verdicts(own)))
        tallies[hotkey] = (*tallies.get(hotkey, ()), counted)
    complete = (MinerHistory(hotkey=hotkey, tallies=tallies[hotkey]) for hotkey in sorted(tallies))
    carried = (
        MinerHistory(hotkey=one.hotkey, tallies=within_window(one, epoch + 1, window)) for one in complete
    )
    return tuple(one for one in carried if one.tallies)
