"""What earlier epochs found out about a hotkey, whatever its uid: counts, which expire, and its test."""

from collections.abc import Iterable, Sequence
from typing import Annotated

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER, Standing, steps
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
    """One hotkey's tallies, oldest epoch first, and where its sequential test stands."""

    hotkey: Ss58
    tallies: tuple[EpochTally, ...]
    test: Standing


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


def standings(history: Iterable[MinerHistory]) -> dict[str, Standing]:
    """Where the tests stand, by hotkey; who is not in it is a newcomer."""
    return {one.hotkey: one.test for one in history}


def carry_history(
    history: Sequence[MinerHistory], epoch: int, verdicts: Sequence[Verdict], config: ScoringConfig
) -> tuple[MinerHistory, ...]:
    """The history that the epoch after `epoch` starts with, by hotkey.

    A hotkey disappears when it had no audit in the window and there is no evidence against it; leaving the
    subnet and coming back changes nothing.
    """
    before = {one.hotkey: one for one in history}
    fresh: dict[str, list[Verdict]] = {hotkey: [] for hotkey in before}
    for verdict in verdicts:
        fresh.setdefault(verdict.miner_hotkey, []).append(verdict)
    carried = (
        _carry(before.get(hotkey, MinerHistory(hotkey=hotkey, tallies=(), test=NEWCOMER)), epoch, own, config)
        for hotkey, own in sorted(fresh.items())
    )
    return tuple(one for one in carried if one.tallies or one.test.log_evidence > 0)


def _carry(
    before: MinerHistory, epoch: int, verdicts: Sequence[Verdict], config: ScoringConfig
) -> MinerHistory:
    taken = steps(before.test, verdicts, config)
    counted = (EpochTally(epoch=epoch, **dict(count_verdicts(verdicts))),) if verdicts else ()
    longer = before.model_copy(update={"tallies": (*before.tallies, *counted)})
    return MinerHistory(
        hotkey=before.hotkey,
        tallies=within_window(longer, epoch + 1, config.history_epochs),
        test=taken[-1].after if taken else before.test,
    )
