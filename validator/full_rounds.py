"""What miners do while everybody is asked without pause: what they are paid for.

A round that asks everybody goes on for `full_round_ms`: each miner gets its next request as soon as it has
answered the last, and one that it refuses or fails again and again (`validator/round_traffic.py`). In that
time a machine does the work of one machine, under however many hotkeys and in whatever order it serves them.
What it is bad at costs it the rest of the round at most, and not to serve that costs it all of the rest. And
the requests are the auditor's own: nobody has their answers ready, and a new hotkey is measured like an old
one.

    work of an answer = its tokens ÷ the speed that its shape allows (`validator/round_times.py`), in ms
    rate of an epoch  = Σ work ÷ Σ time in which it was asked, over its full rounds
    rate of a miner   = the same over this epoch and those of the `work_window` epochs before it whose rates
                        are like this one's: neither is more than `rate_band` times the other

A miner is asked from its first request of the round on, until `full_round_ms` later or the epoch's end. Only
the pauses after answers, which are the auditor's, are no time. A failed request is time without work, and so
is the rest that the gateway gives the miner then. Reliability counts the same failure, so of that time as
large a share of all is excused as reliability takes of the score, or all of it if it is less: a failure costs
once, and none pays: reliability × Σ work ÷ (Σ time − excused) ≤ Σ work ÷ Σ time. The answer under way at the
end counts for

    τ × usual rate × (2v − 1), within [0, 2 τ × usual rate]

τ the time that it had, v its own rate ÷ the usual one: all of it for a machine of its own, nothing for one
that was kept waiting, so that k hotkeys in a queue have not k answers under way.

Several epochs make luck smaller. Only those like this one count, so that another machine, or a second hotkey
on it, is seen in the first epoch. Whoever was in no full round of the epoch is measured by the newest one
before in which it was; without any, it is not measured.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

from pydantic import Field

from shared.identifiers import Message, Ss58
from validator.probe_rounds import MOST_REQUESTS, ProbeRound, RoundRequests
from validator.request_facts import RequestFacts
from validator.round_times import UNKNOWN, AloneTimes, Times
from validator.scoring_config import ScoringConfig

Facts = Mapping[tuple[str, str], RequestFacts]
"""Requests by key."""

Whole = Annotated[int, Field(ge=0)]


class Spell(NamedTuple):
    """One member's part in a full round.

    Attributes:
        work_ms: done, at a figure of 1.
        asked_ms: time that counts; `failed_ms` of it failed requests and rests after them.
    """

    work_ms: float
    asked_ms: int
    failed_ms: int

    @property
    def times(self) -> Times:
        """What is handed to the next epochs: (work, time asked)."""
        return Times(round(self.work_ms), self.asked_ms) if self.asked_ms else UNKNOWN


class WorkDone(Message):
    """What a miner did while everybody was asked.

    Attributes:
        rounds: full rounds of this epoch in which it was asked; if none, the newest epoch before counts.
        work_ms, asked_ms: of that epoch, excused time left out.
        epochs: how many are added up.
        rate: that it is paid for; `usual` is that of its other answers, None when it has none.
    """

    hotkey: Ss58
    rounds: Whole
    work_ms: Whole
    asked_ms: Whole
    epochs: Annotated[int, Field(ge=1)]
    rate: Annotated[float, Field(ge=0)]
    usual: float | None


def spells(
    held: ProbeRound, facts: Facts, alone: AloneTimes, config: ScoringConfig, newest_ms: int
) -> Mapping[str, Spell]:
    """Every member's part in a full round, by hotkey; empty when no request of it is known.

    Args:
        newest_ms: when the last request of the epoch ended: what came later is not known.
    """
    made = {member.hotkey: _made(member, facts) for member in held.asked}
    starts = [own[0].started_at_ms for own in made.values() if own]
    if not starts:
        return {}
    found = {}
    for hotkey, own in made.items():
        start_ms = own[0].started_at_ms if own else min(starts)
        end_ms = max(start_ms, min(start_ms + config.full_round_ms, newest_ms))
        found[hotkey] = _Clockwork(start_ms, end_ms, alone).over(own)
    return found


def _made(member: RoundRequests, facts: Facts) -> list[RequestFacts]:
    own = [one for name in member.request_ids if (one := facts.get((name, member.hotkey)))]
    return sorted(own, key=lambda one: (one.started_at_ms, one.finished_at_ms))


@dataclass(frozen=True)
class _Clockwork:
    """The time from `start_ms` to `end_ms`, taken apart."""

    start_ms: int
    end_ms: int
    alone: AloneTimes

    def over(self, requests: Sequence[RequestFacts]) -> Spell:
        """A member's part; its requests are in order of time."""
        work: list[float] = []
        answering_ms = failed_ms = 0
        at_ms, resting = self.start_ms, False
        for one in requests:
            begun_ms, ended_ms = min(one.started_at_ms, self.end_ms), min(one.finished_at_ms, self.end_ms)
            failed_ms += max(0, begun_ms - at_ms) if resting else 0
            resting = one.outcome in ("failed", "refused")
            if resting:
                failed_ms += ended_ms - begun_ms
            elif one.outcome == "answered":
                answering_ms += ended_ms - begun_ms
                work.append(self._work_ms(one))
            at_ms = max(at_ms, ended_ms)
        hanging_ms = 0 if _was_asked_all(requests) else self.end_ms - at_ms
        failed_ms += hanging_ms if resting else 0
        asked_ms = answering_ms + failed_ms + (0 if resting else hanging_ms)
        return Spell(math.fsum(work), asked_ms, failed_ms)

    def _work_ms(self, answer: RequestFacts) -> float:
        work_ms = self.alone.work_ms(answer) or 0.0
        if answer.finished_at_ms <= self.end_ms:
            return work_ms
        usual = self.alone.figure(answer.miner_hotkey)
        if usual is None or answer.started_at_ms >= self.end_ms:
            return 0.0
        had_ms = self.end_ms - answer.started_at_ms
        own = work_ms / (answer.finished_at_ms - answer.started_at_ms) / usual
        return had_ms * usual * min(2.0, max(0.0, 2 * own - 1))


def _was_asked_all(requests: Sequence[RequestFacts]) -> bool:
    """Whether a member has answered all that one may be asked: who refuses so many has not."""
    return len(requests) >= MOST_REQUESTS and all(one.outcome == "answered" for one in requests)


def work_done(
    found: Sequence[Mapping[str, Spell]],
    before: Iterable[Mapping[str, Times]],
    failing: Mapping[str, float],
    alone: AloneTimes,
    config: ScoringConfig,
) -> list[WorkDone]:
    """What each miner did, by hotkey.

    Args:
        found: the spells of this epoch's full rounds.
        before: (work, time) of earlier epochs, newest first.
        failing: of each miner, 1 − its reliability.
    """
    own: dict[str, list[Spell]] = {}
    for one in found:
        for hotkey, spell in one.items():
            own.setdefault(hotkey, []).append(spell)
    earlier = list(before)
    hotkeys = {*own, *(hotkey for one in earlier for hotkey in one)}
    done = [
        _done(hotkey, own.get(hotkey, ()), earlier, failing.get(hotkey, 0.0), alone, config)
        for hotkey in sorted(hotkeys)
    ]
    return [one for one in done if one is not None]


def _done(
    hotkey: str,
    parts: Sequence[Spell],
    before: Sequence[Mapping[str, Times]],
    failing: float,
    alone: AloneTimes,
    config: ScoringConfig,
) -> WorkDone | None:
    epochs = [_summed(parts, failing), *(one[hotkey] for one in before if hotkey in one)]
    known = [one for one in epochs if one.took_ms]
    if not known:
        return None
    now, like = known[0], [one for one in known if _alike(known[0], one, config.rate_band)]
    return WorkDone(
        hotkey=hotkey,
        rounds=sum(1 for part in parts if part.asked_ms),
        work_ms=now.alone_ms,
        asked_ms=now.took_ms,
        epochs=len(like),
        rate=sum(one.alone_ms for one in like) / sum(one.took_ms for one in like),
        usual=alone.figure(hotkey),
    )


def _summed(parts: Sequence[Spell], failing: float) -> Times:
    asked_ms = sum(part.asked_ms for part in parts)
    excused_ms = min(sum(part.failed_ms for part in parts), round(failing * asked_ms))
    work_ms = round(math.fsum(part.work_ms for part in parts))
    return Times(work_ms, asked_ms - excused_ms) if asked_ms > excused_ms else UNKNOWN


def _alike(one: Times, other: Times, band: float) -> bool:
    """Whether neither rate is more than `band` times the other."""
    this, that = one.alone_ms * other.took_ms, other.alone_ms * one.took_ms
    return this <= band * that and that <= band * this
