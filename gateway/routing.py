"""Which miner gets the next request: a pure function of what the gateway measured itself (`docs/ROUTING.md`).

In this order:

1. A client's order of preference counts, within the bound on load.
2. Miners that the audits reject get a small share, so that they can be seen to reform; the others the rest.
3. A share of requests goes to a miner that has rested after a failure, or else to the one that was asked
   least, while it has had less than that share of an equal part: so all are measured, by the same requests,
   as the draw does not look at them.
4. Of two random miners the one that should be done first serves (Mitzenmacher, "The Power of Two Choices in
   Randomized Load Balancing", 2001: nearly as good as asking all, without herding), and of two that should
   be done about together the one that was asked less; or the miner that has the conversation in its cache,
   if it should be done about as soon and is within the bound on load.

    expected time = (first token × (1 − share of the prompt in the cache) + tokens × time between tokens)
                    × slowdown by what is under way ÷ success rate ÷ audits' pass rate
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from gateway.breaker import READY
from gateway.pace import UNMEASURED, Pace, slowdown

FLOOR_SHARE = 0.25
"""Every miner that can be called gets at least this share of an equal part of the requests; together that is
at most this share of all, and so much can newcomers draw. Of 1,000 requests in an epoch twelve miners get 21
each at least, where synthetic traffic fills up to 12 (`validator/audit_config.py`)."""

REJECTED_SHARE = 0.01
"""Of all requests, for all miners together that the audits reject. Their audits are made of directed
requests; without any others, they would know those."""

LOAD_BOUND = 1.25
LEAST_BOUND = 4
"""A miner that is sought for its cache, or by a client, has at most 1.25 times the mean number of requests
under way (c of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018), but four
may always: an engine with room loses an eighth of its speed to them."""

SAME_TIME = 1.15
"""Expected times differ by so much through chance alone: answers of one shape do by 15 %, averages of eight
of them by 5 % and two such averages by 7.5 % (one standard error). Without this the luckier of two equal
miners would get nearly everything while the network is idle."""

MOST_DRAWS = 8
"""Draws among all candidates before those that can serve are counted: of a few it is done at once."""

EXPECTED_TOKENS = 214.0
"""Tokens of an average answer (`validator/synthetic_prior.py`); a request may ask for fewer."""

SAMPLE_HALF_LIFE_S = 600.0
"""Requests count half after ten minutes, so that a newcomer need not catch up with months."""


class RandomSource(Protocol):
    """The parts of random.Random that routing and seeds use."""

    def random(self) -> float: ...

    def randrange(self, stop: int, /) -> int: ...


class MinerLoad(NamedTuple):
    """What routing knows about one callable miner; a tuple, as hundreds are made for one choice.

    Attributes:
        recent_requests: that routing was free to send anywhere, each weighted by
            2^(-age / SAMPLE_HALF_LIFE_S).
        ready_at_s: when its circuit breaker lets a request through, on the monotonic clock.
        pace: with prompts like the request's.
        success_rate: of its recent requests, above zero.
        pass_rate: of its audits, above zero.
        rejected: by the audits' sequential test.
    """

    uid: int
    in_flight: int = 0
    recent_requests: float = 0.0
    ready_at_s: float = READY
    pace: Pace = UNMEASURED
    success_rate: float = 1.0
    pass_rate: float = 1.0
    rejected: bool = False


class Asked(NamedTuple):
    """What routing looks at in a request.

    Attributes:
        typical: the pace of all miners together with prompts like this one.
        output_tokens: that are expected.
        order: uids that the client would rather be served by, the first before the second.
        familiar_uid: of the miner that served the conversation so far; None if there is none.
        familiar_share: of the prompt that is in that miner's cache.
        bound: requests under way from which on a miner is not sought out (`load_bound`).
    """

    typical: Pace = UNMEASURED
    output_tokens: float = EXPECTED_TOKENS
    order: tuple[int, ...] = ()
    familiar_uid: int | None = None
    familiar_share: float = 0.0
    bound: int = LEAST_BOUND


ANYTHING = Asked()


def decayed(requests: float, age_s: float) -> float:
    """A weighted count of requests, `age_s` seconds later."""
    return requests * math.exp2(-age_s / SAMPLE_HALF_LIFE_S)


def load_bound(in_flight: int, miners: int) -> int:
    """Most requests under way at a miner that was sought out, when so many are at all miners together."""
    return max(LEAST_BOUND, math.ceil(LOAD_BOUND * (in_flight + 1) / max(1, miners)))


def expected_s(miner: MinerLoad, asked: Asked) -> float:
    """Seconds until this miner should have answered, what fails and is asked again included."""
    share = asked.familiar_share if miner.uid == asked.familiar_uid else 0.0
    alone_s = miner.pace.time_s(asked.typical, asked.output_tokens, share)
    return alone_s * slowdown(miner.in_flight) / (miner.success_rate * miner.pass_rate)


def choose(
    candidates: Sequence[MinerLoad], now_s: float, random: RandomSource, asked: Asked = ANYTHING
) -> MinerLoad | None:
    """The miner to send to, or None when there is none.

    When all rest, the one that is ready first is better than nobody; and so are rejected miners when there
    are no others. Of many candidates most are not even looked at, three times in four.
    """
    if len(candidates) <= MOST_DRAWS:
        candidates = list(candidates)
    if asked.order and (preferred := _preferred(candidates, now_s, asked)):
        return preferred
    if random.random() < REJECTED_SHARE and (reforming := _reforming(candidates, now_s)):
        return reforming
    if random.random() < FLOOR_SHARE and (neglected := _neglected(_ready(_serving(candidates), now_s))):
        return neglected
    drawn = _two(candidates, now_s, random)
    return _quickest(drawn, candidates, now_s, asked) if drawn else _first_ready(_serving(candidates))


def can_be_next(uid: int, candidates: Sequence[MinerLoad], now_s: float) -> bool:
    """Whether `choose` could give the miner with that uid now.

    A request that names its miner waits for this too. Otherwise a miner that rests after a failure would
    know that whatever reaches it then is no client's.
    """
    possible, serving = _ready(candidates, now_s), _serving(candidates)
    if not _ready(serving, now_s) and (first := _first_ready(serving)):
        possible = [*possible, first]
    return any(miner.uid == uid for miner in possible)


def better_wait(busy: Sequence[MinerLoad], free: Sequence[MinerLoad], now_s: float) -> bool:
    """Whether to wait for one of `busy`, as all of `free` rest or are rejected.

    Otherwise a full network would send what is too much for it to just those.
    """

    def any_good(miners: Sequence[MinerLoad]) -> bool:
        return any(miner.ready_at_s <= now_s and not miner.rejected for miner in miners)

    return not any_good(free) and any_good(busy)


def _serving(miners: Sequence[MinerLoad]) -> Sequence[MinerLoad]:
    """Those that the audits don't reject, or all if they reject all."""
    return [miner for miner in miners if not miner.rejected] or miners


def _ready(miners: Sequence[MinerLoad], now_s: float) -> list[MinerLoad]:
    return [miner for miner in miners if miner.ready_at_s <= now_s]


def _first_ready(miners: Sequence[MinerLoad]) -> MinerLoad | None:
    return min(miners, key=lambda miner: (miner.ready_at_s, miner.uid), default=None)


def _least_asked(miners: Sequence[MinerLoad]) -> MinerLoad:
    return min(miners, key=lambda miner: (miner.recent_requests, miner.uid))


def _reforming(miners: Sequence[MinerLoad], now_s: float) -> MinerLoad | None:
    """A miner that the audits reject, while there are others."""
    rejected = [miner for miner in miners if miner.rejected]
    ready = _ready(rejected, now_s)
    return _least_asked(ready) if ready and len(rejected) < len(miners) else None


def _neglected(ready: Sequence[MinerLoad]) -> MinerLoad | None:
    """A miner that has rested and has to prove itself, or that was asked too little to be measured."""
    if not ready:
        return None
    rested = [miner for miner in ready if miner.ready_at_s > READY]
    if rested:
        return _least_asked(rested)
    least = _least_asked(ready)
    equal = sum(miner.recent_requests for miner in ready) / len(ready)
    return least if least.recent_requests < FLOOR_SHARE * equal else None


def _preferred(miners: Sequence[MinerLoad], now_s: float, asked: Asked) -> MinerLoad | None:
    by_uid = {miner.uid: miner for miner in _ready(_serving(miners), now_s)}
    wanted = (by_uid[uid] for uid in asked.order if uid in by_uid)
    return next((miner for miner in wanted if miner.in_flight < asked.bound), None)


def _quickest(
    drawn: Sequence[MinerLoad], candidates: Sequence[MinerLoad], now_s: float, asked: Asked
) -> MinerLoad:
    times_s = [expected_s(miner, asked) for miner in drawn]
    quickest, quickest_s = _quicker(drawn, times_s)
    if asked.familiar_uid in (None, quickest.uid):
        return quickest
    familiar = next((miner for miner in candidates if miner.uid == asked.familiar_uid), None)
    if familiar is None or familiar.ready_at_s > now_s or familiar.in_flight >= asked.bound:
        return quickest
    soon = expected_s(familiar, asked) <= SAME_TIME * quickest_s
    return familiar if soon and familiar.rejected <= quickest.rejected else quickest


def _quicker(drawn: Sequence[MinerLoad], times_s: Sequence[float]) -> tuple[MinerLoad, float]:
    """The one that should be done first, and when; of those that differ by no more than chance the one asked
    less."""
    latest_s = SAME_TIME * min(times_s)
    same = [one for one in zip(drawn, times_s, strict=True) if one[1] <= latest_s]
    return min(same, key=lambda one: (one[0].recent_requests, one[1]))


def _two(miners: Sequence[MinerLoad], now_s: float, random: RandomSource) -> list[MinerLoad]:
    """Two different miners that can serve now, or the only one, or none."""
    drawn: list[MinerLoad] = []
    for _ in range(MOST_DRAWS if len(miners) > MOST_DRAWS else 0):
        one = miners[random.randrange(len(miners))]
        if one.ready_at_s <= now_s and not one.rejected and one.uid not in [other.uid for other in drawn]:
            drawn.append(one)
            if len(drawn) == 2:
                return drawn
    ready = _ready(_serving(miners), now_s)
    if len(ready) < 2:
        return ready
    first = random.randrange(len(ready))
    second = (first + 1 + random.randrange(len(ready) - 1)) % len(ready)
    return [ready[first], ready[second]]
