"""The circuit breaker of one miner: a miner that failed rests, then has to prove itself with one request.

closed      requests go to it
open        it failed lately, or said that it is overloaded: it rests until a moment
half_open   it has rested: one request at a time goes to it, which closes the breaker or opens it again

What was sent before the breaker opened says nothing that the breaker does not know: ten answers that break
off together are one failure, and one that comes to its end a moment later does not call off the rest.
"""

import math
from typing import Any, Literal, NamedTuple

State = Literal["closed", "open", "half_open"]

FIRST_COOLDOWN_S = 2.0
LONGEST_COOLDOWN_S = 60.0
"""A miner that failed rests for 2 s, twice as long for each further failure in a row, at most a minute: a
restart of an engine takes one (35 to 60 s)."""

READY = float("-inf")
NOT_BEFORE_ITS_PROBE_ENDS = float("inf")


class Pass(NamedTuple):
    """A request's way through the breaker.

    Attributes:
        opened: how often the breaker had opened when the request was sent.
        probe: whether the miner is to prove itself with it.
    """

    opened: int
    probe: bool


class Breaker:
    """Counts failures in a row; every moment is given by the caller, on the monotonic clock.

    Attributes:
        failures_in_a_row: since the last success.
    """

    def __init__(self) -> None:
        self.failures_in_a_row = 0
        self._opened, self._is_open, self._probing = 0, False, False
        self._until_s = READY

    def state(self, now_s: float) -> State:
        """What the breaker does with requests now."""
        if not self._is_open:
            return "closed"
        return "open" if now_s < self._until_s else "half_open"

    @property
    def ready_at_s(self) -> float:
        """From when on a request may be sent: −inf while closed, inf while a probe is under way."""
        if not self._is_open:
            return READY
        return NOT_BEFORE_ITS_PROBE_ENDS if self._probing else self._until_s

    def enter(self, now_s: float) -> Pass:
        """A request is sent: in half-open state it is the probe."""
        probe = self.state(now_s) == "half_open" and not self._probing
        self._probing = self._probing or probe
        return Pass(self._opened, probe)

    def succeeded(self, entered: Pass) -> None:
        """The request went well."""
        self._leave(entered)
        if self._is_new(entered):
            self.failures_in_a_row, self._is_open = 0, False

    def failed(self, entered: Pass, now_s: float) -> bool:
        """The request failed; gives whether that is news: neither a probe, nor broken with another one."""
        self._leave(entered)
        if not self._is_new(entered):
            return False
        news = not self._is_open
        doubled = math.ldexp(FIRST_COOLDOWN_S, min(self.failures_in_a_row, 16))
        self.failures_in_a_row += 1
        self._open_until(now_s + min(doubled, LONGEST_COOLDOWN_S))
        return news

    def overloaded(self, entered: Pass, now_s: float, wait_s: float) -> None:
        """The miner asked to be left alone for `wait_s`: granted within bounds, and no further failure."""
        self._leave(entered)
        if self._is_new(entered):
            self._open_until(now_s + min(max(wait_s, FIRST_COOLDOWN_S), LONGEST_COOLDOWN_S))

    def told_nothing(self, entered: Pass) -> None:
        """The request ended through no doing of the miner's: if it was the probe, another one follows."""
        self._leave(entered)

    def status(self, now_s: float) -> dict[str, Any]:
        """This breaker in GET /health."""
        state = self.state(now_s)
        rests_s = round(self._until_s - now_s, 1) if state == "open" else None
        return {"state": state, "failures_in_a_row": self.failures_in_a_row, "rests_for_s": rests_s}

    def _is_new(self, entered: Pass) -> bool:
        return entered.opened == self._opened

    def _leave(self, entered: Pass) -> None:
        if entered.probe and self._is_new(entered):
            self._probing = False

    def _open_until(self, until_s: float) -> None:
        self._is_open, self._until_s, self._probing = True, until_s, False
        self._opened += 1
