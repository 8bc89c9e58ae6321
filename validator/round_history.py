"""The rounds of the last epochs, as one summary hands them to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from shared.identifiers import Hex32, Message, Ss58
from validator.full_rounds import Spell, spells
from validator.probe_rounds import ProbeRound
from validator.request_facts import RequestFacts
from validator.round_times import AloneTimes, Times, round_times
from validator.scoring_config import ScoringConfig

Place = Annotated[int, Field(ge=0)]
Whole = Annotated[int, Field(ge=0)]


class PastRound(Message):
    """A round in numbers; miners are places in `RoundHistory.hotkeys`.

    Attributes:
        miners: who could have been a member.
        members: (place, milliseconds alone, milliseconds taken), as in `validator.round_times.Times`; of a
            round that asks everybody (place, work, time asked), as in `validator.full_rounds.Spell.times`.
    """

    block: Whole
    full: bool
    requests_each: Whole
    miners: tuple[Place, ...]
    members: tuple[tuple[Place, Whole, Whole], ...]


class PastWork(Message):
    """What miners did in the full rounds of one epoch: (place, work, time asked), in milliseconds."""

    members: tuple[tuple[Place, Whole, Whole], ...]


class RoundHistory(Message):
    """What an epoch starts with.

    Attributes:
        commitments: of the secrets of the epoch that begins and of the one after it; None: there is none.
        rounds: oldest first; at 256 miners some 3 kB each.
        work: of the newest epochs that had full rounds, oldest first.
    """

    commitments: tuple[Hex32 | None, Hex32 | None] = (None, None)
    hotkeys: tuple[Ss58, ...] = ()
    rounds: tuple[PastRound, ...] = ()
    work: tuple[PastWork, ...] = ()

    def work_before(self) -> list[Mapping[str, Times]]:
        """The work of each epoch by hotkey, newest first."""
        return [
            {self.hotkeys[place]: Times(work_ms, asked_ms) for place, work_ms, asked_ms in one.members}
            for one in reversed(self.work)
        ]


NO_ROUNDS = RoundHistory()


@dataclass(frozen=True)
class RoundInputs:
    """What an epoch's summary says about rounds.

    Attributes:
        secret: what the rounds were drawn with; None when there could be none.
        commitment: of the secret of the epoch after the next.
        history: as the summary before this one left it.
    """

    secret: str | None = None
    commitment: str | None = None
    rounds: Sequence[ProbeRound] = ()
    history: RoundHistory = NO_ROUNDS


NO_ROUND_INPUTS = RoundInputs()


@dataclass(frozen=True)
class RoundOutcome:
    """One round: who could have been asked, and how it went for those who were, by hotkey.

    Times of a round that asks everybody are (work, time asked); in both kinds 0 comes first of who failed.
    """

    block: int
    full: bool
    requests_each: int
    miners: frozenset[str]
    members: Mapping[str, Times]


@dataclass(frozen=True)
class EpochRounds:
    """An epoch's rounds, read.

    Attributes:
        before: rounds of earlier epochs, oldest first; `new` those of this one.
        spells: of this epoch's full rounds.
        usual: what answers outside of rounds say; where there are none, those in rounds that ask a half, and
            where there are none of those either, all.
    """

    before: Sequence[RoundOutcome]
    new: Sequence[RoundOutcome]
    spells: Sequence[Mapping[str, Spell]]
    usual: AloneTimes

    def newest(self, config: ScoringConfig) -> list[RoundOutcome]:
        """The newest `round_window` rounds up to this epoch's, oldest first."""
        return [*self.before, *self.new][-config.round_window :]


def read_rounds(inputs: RoundInputs, requests: Sequence[RequestFacts], config: ScoringConfig) -> EpochRounds:
    """How an epoch's rounds went, beside those before."""
    held = sorted(inputs.rounds, key=lambda one: one.block)
    alone = AloneTimes.outside(requests, held, config)
    facts = {one.key: one for one in requests}
    newest_ms = max((one.finished_at_ms for one in requests), default=0)
    fulls = [one for one in held if one.full]
    usual = alone
    for without in (fulls, ()):
        usual = usual if usual.is_known else AloneTimes.outside(requests, without, config)
    worked = {one.block: spells(one, facts, usual, config, newest_ms) for one in fulls}
    new = [
        RoundOutcome(
            one.block,
            one.full,
            one.requests_each,
            frozenset(one.miners),
            {hotkey: spell.times for hotkey, spell in worked[one.block].items()}
            if one.full
            else round_times(one, facts, alone, config),
        )
        for one in held
    ]
    past = [_outcome(one, inputs.history.hotkeys) for one in inputs.history.rounds]
    return EpochRounds(past, new, list(worked.values()), usual)


def _outcome(past: PastRound, hotkeys: Sequence[str]) -> RoundOutcome:
    members = {hotkeys[place]: Times(alone_ms, took_ms) for place, alone_ms, took_ms in past.members}
    return RoundOutcome(
        past.block,
        past.full,
        past.requests_each,
        frozenset(hotkeys[place] for place in past.miners),
        members,
    )


def carry_rounds(
    inputs: RoundInputs, found: Sequence[RoundOutcome], done: Sequence[Mapping[str, Times]] = ()
) -> RoundHistory:
    """The history that the next epoch starts with.

    Args:
        found: the newest rounds.
        done: the work of the newest epochs, newest first.
    """
    named = {hotkey for one in found for hotkey in one.miners}
    hotkeys = sorted(named | {hotkey for one in done for hotkey in one})
    places = {hotkey: place for place, hotkey in enumerate(hotkeys)}
    return RoundHistory(
        commitments=(inputs.history.commitments[1], inputs.commitment),
        hotkeys=tuple(hotkeys),
        rounds=tuple(
            PastRound(
                block=one.block,
                full=one.full,
                requests_each=one.requests_each,
                miners=tuple(sorted(places[hotkey] for hotkey in one.miners)),
                members=tuple(sorted((places[hotkey], *times) for hotkey, times in one.members.items())),
            )
            for one in found
        ),
        work=tuple(
            PastWork(members=tuple(sorted((places[hotkey], *times) for hotkey, times in one.items())))
            for one in reversed(done)
        ),
    )
