"""Which miner gets the next request: a pure function of what the gateway measured itself.

Two random miners are drawn and the one with fewer requests in flight wins (Mitzenmacher, "The Power of Two
Choices in Randomized Load Balancing", 2001): nearly as even as asking all, without herding. A share of
requests goes to the miner with the fewest recent ones, so that all are measured about equally often.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

EXPLORATION_SHARE = 0.1
"""Share of requests that go to the least sampled miner; bounds what a newcomer can draw to itself."""

FIRST_COOLDOWN_S = 2.0
LONGEST_COOLDOWN_S = 60.0
"""A miner that failed rests for 2 s, twice as long for each further failure in a row, at most a minute."""

SAMPLE_HALF_LIFE_S = 600.0
"""Requests count half after ten minutes, so that a newcomer need not catch up with months."""


class RandomSource(Protocol):
    """The parts of random.Random that routing and seeds use."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


@dataclass(frozen=True)
class MinerLoad:
    """What routing knows about one callable miner.

    Attributes:
        recent_requests: attempts, each weighted by 2^(-age / SAMPLE_HALF_LIFE_S).
        failures_in_a_row: since its last success.
        last_failure_s: on the monotonic clock.
    """

    uid: int
    in_flight: int = 0
    recent_requests: float = 0.0
    failures_in_a_row: int = 0
    last_failure_s: float = 0.0

    def rests_until_s(self) -> float:
        """When its cooldown ends; minus infinity for a miner whose last request went well."""
        if self.failures_in_a_row == 0:
            return float("-inf")
        doubled = math.ldexp(FIRST_COOLDOWN_S, min(self.failures_in_a_row - 1, 16))
        return self.last_failure_s + min(doubled, LONGEST_COOLDOWN_S)


def decayed(requests: float, age_s: float) -> float:
    """A weighted count of requests, `age_s` seconds later."""
    return requests * math.exp2(-age_s / SAMPLE_HALF_LIFE_S)


def choose(candidates: Sequence[MinerLoad], now_s: float, random: RandomSource) -> MinerLoad | None:
    """The miner to send to, or None when there is none.

    When all of them rest, the one that is ready first is better than nobody.
    """
    if not candidates:
        return None
    ready = [miner for miner in candidates if miner.rests_until_s() <= now_s]
    if not ready:
        return min(candidates, key=lambda miner: (miner.rests_until_s(), miner.uid))
    if random.random() < EXPLORATION_SHARE:
        return min(ready, key=lambda miner: (miner.recent_requests, miner.uid))
    return min(_two(ready, random), key=lambda miner: (miner.in_flight, miner.recent_requests))


def can_be_next(uid: int, candidates: Sequence[MinerLoad], now_s: float) -> bool:
    """Whether `choose` could give the miner with that uid now.

    A request that names its miner waits for this too. Otherwise a miner that rests after a failure would
    know that whatever reaches it then is no client's.
    """
    ready = [miner for miner in candidates if miner.rests_until_s() <= now_s]
    if not ready:
        ready = [min(candidates, key=lambda miner: (miner.rests_until_s(), miner.uid))] if candidates else []
    return any(miner.uid == uid for miner in ready)


def _two(miners: Sequence[MinerLoad], random: RandomSource) -> list[MinerLoad]:
    """Two different miners, or the only one."""
    first = random.randrange(len(miners))
    if len(miners) == 1:
        return [miners[first]]
    second = (first + 1 + random.randrange(len(miners) - 1)) % len(miners)
    return [miners[first], miners[second]]
