"""A machine while each of its hotkeys is asked again as soon as it has answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from bench.incentives.population import PREFILL_SPEEDUP, Machine, timing
from bench.incentives.strategies import RESET, Conduct, Together
from bench.incentives.traffic import Arrival
from gateway.breaker import FIRST_COOLDOWN_S, LONGEST_COOLDOWN_S
from validator.probe_rounds import MOST_REQUESTS
from validator.round_traffic import ASK_AGAIN_S

FAILED_AFTER_S = 1.0
"""When a broken attempt is given up."""

REFUSED_AFTER_S = 0.05
"""A refusal takes little more than the way there and back."""

_SOON_S = 1e-9


@dataclass(frozen=True)
class Handled:
    """One request of a full round: of which uid, which of its requests, and from when to when."""

    uid: int
    place: int
    arrival: Arrival
    conduct: Conduct
    started_s: float
    ended_s: float


@dataclass
class _Seat:
    """One uid: what it is asked now, and when it can be asked next.

    Attributes:
        asked: how many requests were made; `answered` of them were, and the next was in vain `again` times.
    """

    uid: int
    place: int
    free_at_s: float
    asked: int = 0
    answered: int = 0
    again: int = 0
    failed_in_a_row: int = 0
    job: "_Job | None" = None


@dataclass
class _Job:
    place: int
    arrival: Arrival
    conduct: Conduct
    started_s: float
    left_s: float
    worth: float


Ask = Callable[[int, int, int], tuple[Arrival, Conduct]]
"""The n-th request of a uid, asked so often before in vain, and what its miner does with it."""


@dataclass
class Pressed:
    """One machine from `start_s` on, until every request that was made before `until_s` has ended.

    Attributes:
        turn: number of the round, by which machines that serve one uid a round choose it.
    """

    machine: Machine
    together: Together
    start_s: float
    until_s: float
    turn: int
    handled: list[Handled] = field(default_factory=list)

    def serve(self, free_at_s: Sequence[tuple[int, float]], ask: Ask) -> list[Handled]:
        """All requests, by end; `free_at_s` says from when each uid can be asked."""
        seats = [_Seat(uid, place, max(self.start_s, free)) for place, (uid, free) in enumerate(free_at_s)]
        now_s = self.start_s
        while True:
            for seat in seats:
                self._fill(seat, seats, now_s, ask)
            busy = [seat for seat in seats if seat.job]
            waking = [one.free_at_s for one in seats if not one.job and self._is_asked(one, one.free_at_s)]
            if not busy and not waking:
                return self.handled
            rates = self._rates(busy)
            ends = [now_s + seat.job.left_s / rate for seat, rate in rates if seat.job]
            then_s = min([*ends, *waking])
            for seat, rate in rates:
                self._work(seat, rate, now_s, then_s)
            now_s = then_s

    def _is_asked(self, seat: _Seat, at_s: float) -> bool:
        return at_s < self.until_s and seat.asked < MOST_REQUESTS

    def _fill(self, seat: _Seat, seats: Sequence[_Seat], now_s: float, ask: Ask) -> None:
        if seat.job or seat.free_at_s > now_s or not self._is_asked(seat, now_s):
            return
        arrival, conduct = ask(seat.uid, seat.answered, seat.again)
        place = seat.asked
        seat.asked += 1
        if conduct.outcome == "answered" and not self._drops(seat, seats):
            taken_s = timing(self.machine, arrival, conduct.speed_up).duration_ms / 1000
            seat.job = _Job(place, arrival, conduct, now_s, taken_s, _worth(self.machine, arrival))
            return
        conduct = conduct if conduct.outcome != "answered" else RESET
        outcome = conduct.outcome
        ended_s = now_s + unanswered_s(self.machine, arrival, conduct)
        self.handled.append(Handled(seat.uid, place, arrival, conduct, now_s, ended_s))
        seat.again += 1
        seat.free_at_s = ended_s + ASK_AGAIN_S
        if outcome == "failed":
            seat.failed_in_a_row += 1
            rest_s = FIRST_COOLDOWN_S * 2.0 ** (seat.failed_in_a_row - 1)
            seat.free_at_s = ended_s + min(LONGEST_COOLDOWN_S, rest_s)

    def _drops(self, seat: _Seat, seats: Sequence[_Seat]) -> bool:
        if self.together == "alternate":
            return seat.place != self.turn % len(seats)
        return self.together == "drop" and any(one.job for one in seats)

    def _rates(self, busy: Sequence[_Seat]) -> list[tuple[_Seat, float]]:
        if self.together == "share":
            return [(seat, 1 / len(busy)) for seat in busy]
        return [(min(busy, key=self._order), 1.0)] if busy else []

    def _order(self, seat: _Seat) -> tuple[float, int]:
        """Whom the machine works for first."""
        assert seat.job is not None
        first = {"turns": seat.job.started_s, "shortest": seat.job.left_s, "choosy": -seat.job.worth}
        return first.get(self.together, 0.0), seat.place

    def _work(self, seat: _Seat, rate: float, now_s: float, then_s: float) -> None:
        job = seat.job
        assert job is not None
        job.left_s -= (then_s - now_s) * rate
        if job.left_s > _SOON_S:
            return
        self.handled.append(Handled(seat.uid, job.place, job.arrival, job.conduct, job.started_s, then_s))
        seat.job, seat.free_at_s, seat.failed_in_a_row = None, then_s, 0
        seat.answered, seat.again = seat.answered + 1, 0


def unanswered_s(machine: Machine, arrival: Arrival, conduct: Conduct) -> float:
    """How long a request goes on that is not answered."""
    if conduct.outcome == "refused":
        return REFUSED_AFTER_S
    if not conduct.written:
        return FAILED_AFTER_S
    return timing(machine, replace(arrival, output_tokens=conduct.written)).duration_ms / 1000


def _worth(machine: Machine, arrival: Arrival) -> float:
    """Tokens a second that can be foreseen of a request."""
    taken_s = machine.round_trip_ms / 1000 + arrival.output_tokens / machine.tokens_per_s
    return arrival.output_tokens / (
        taken_s + arrival.prompt_tokens / (machine.tokens_per_s * PREFILL_SPEEDUP)
    )
