"""A day's traffic in simulated time: the choice beats chance, starves nobody, and overloads nobody.

Miners answer in the time that their speed and their load allow, with noise; nothing waits for a real clock.
"""

import heapq
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from gateway.affinity import Affinity
from gateway.client_request import ClientRequest, parse_client_request
from gateway.miner_choice import MinerChoice, Place, Wish
from gateway.miners import KnownMiner, MinerListing, MinerTable
from gateway.pace import Measured
from gateway.routing import FLOOR_SHARE, REJECTED_SHARE, RandomSource, load_bound
from gateway.standings import AuditStanding, Standings
from shared.inference_paths import CHAT_PATH
from tests.gateway.running_gateway import FakeClock

SPEEDS = (0.25, 0.5, 1.0, 1.0, 1.0, 2.0, 2.0, 4.0)
"""Of the miners, by uid: from an old GPU to a new one."""

FIRST_S, TOKEN_S, TOKENS, SLOTS = 0.3, 0.02, 150, 4


@dataclass
class Answered:
    """One request of the simulation."""

    uid: int
    at_s: float
    latency_s: float
    in_flight: int
    familiar: bool
    bound: int


@dataclass
class Simulated:
    """Miners whose answers take time, and a choice between them."""

    chance: random.Random
    take: Callable[["Simulated", Wish], Place | None]
    speeds: Sequence[float] = SPEEDS
    clock: FakeClock = field(default_factory=FakeClock)
    standings: Standings = field(default_factory=Standings)
    failing: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        self.table = MinerTable(self.clock, True, self.standings)
        self.listings = [MinerListing(uid, f"hotkey-{uid}", "127.0.0.1:1") for uid in range(len(self.speeds))]
        self.join(len(self.speeds))
        random_source: RandomSource = self.chance
        self.choice = MinerChoice("m", self.table, Affinity(), self.clock, random_source, 0)
        self.under_way: list[tuple[float, int, Wish, Place, float]] = []
        self.answered: list[Answered] = []

    def join(self, count: int) -> None:
        """Have the first so many miners on the subnet."""
        self.table.update(self.listings[:count])
        for miner in self.table.all():
            miner.why_not_callable = ""

    def ask(self, request: ClientRequest) -> None:
        """Send one request now."""
        wish = self.choice.wish(request, "a client", None)
        miners = self.table.callable()
        bound = load_bound(sum(miner.in_flight for miner in miners), len(miners))
        place = self.take(self, wish)
        assert place is not None
        miner = place.miner
        if miner.uid in self.failing:
            miner.end()
            miner.failed(place.entered, self.clock.now_s)
            return
        noise = self.chance.lognormvariate(0, 0.15)
        slow = max(1.0, (place.alongside + 1) / SLOTS) * noise / self.speeds[miner.uid]
        took_s = (FIRST_S * (1 - place.familiar_share) + TOKEN_S * TOKENS) * slow
        number = len(self.answered)
        self.answered.append(
            Answered(miner.uid, self.clock.now_s, took_s, place.alongside, place.familiar_share > 0, bound)
        )
        heapq.heappush(self.under_way, (self.clock.now_s + took_s, number, wish, place, slow))

    def advance(self, seconds: float) -> None:
        """Let time pass: answers that are through are measured, as the gateway would."""
        until_s = self.clock.now_s + seconds
        while self.under_way and self.under_way[0][0] <= until_s:
            self.clock.now_s, _, wish, place, slow = heapq.heappop(self.under_way)
            place.miner.end()
            place.miner.succeeded(place.entered, self.clock.now_s)
            first_s = FIRST_S * (1 - place.familiar_share) * slow
            answer = Measured(wish.band, first_s, TOKEN_S * TOKENS * slow, TOKENS, place.alongside, True)
            self.choice.answered(wish, place, answer)
        self.clock.now_s = until_s

    def run(self, requests: int, rate_per_s: float, request: ClientRequest) -> None:
        """Poisson arrivals of one request."""
        for _ in range(requests):
            self.advance(self.chance.expovariate(rate_per_s))
            self.ask(request)

    def shares(self, since: int = 0) -> Counter[int]:
        return Counter(one.uid for one in self.answered[since:])

    def p95_s(self, since: int = 0) -> float:
        latencies = sorted(one.latency_s for one in self.answered[since:])
        return latencies[int(0.95 * len(latencies))]


def chat(*turns: str) -> ClientRequest:
    messages = [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
    return parse_client_request(CHAT_PATH, json.dumps({"messages": messages}).encode(), "m")


def by_choice(world: Simulated, wish: Wish) -> Place | None:
    return world.choice.take(wish, ())


def uniformly(world: Simulated, wish: Wish) -> Place | None:
    miners: Sequence[KnownMiner] = world.table.callable()
    miner = miners[world.chance.randrange(len(miners))]
    alongside = miner.in_flight
    return Place(miner, miner.begin(world.clock.now_s), alongside)


@pytest.mark.parametrize("rate_per_s", [0.2, 2.0, 8.0])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_choice_is_faster_than_chance_at_any_load_and_starves_nobody(
    rate_per_s: float, seed: int
) -> None:
    chosen, random_ = (Simulated(random.Random(seed), take) for take in (by_choice, uniformly))
    for world in (chosen, random_):
        world.run(3000, rate_per_s, chat("hello"))
    assert chosen.p95_s(since=500) < random_.p95_s(since=500)
    mean_s = [sum(one.latency_s for one in world.answered) for world in (chosen, random_)]
    assert mean_s[0] < 0.75 * mean_s[1]
    shares = chosen.shares(since=500)
    assert min(shares[uid] for uid in range(len(SPEEDS))) > 0.8 * FLOOR_SHARE * 2500 / len(SPEEDS), shares


def test_equal_miners_share_requests_evenly_though_answers_differ_by_chance() -> None:
    world = Simulated(random.Random(4), by_choice, speeds=(1.0,) * 5)
    world.run(3000, 1.0, chat("hello"))
    shares = world.shares(since=500)
    assert max(shares.values()) < 1.5 * min(shares.values()), shares


def test_a_newcomer_gets_its_sample_soon_and_then_what_its_speed_deserves() -> None:
    for speed, most in ((4.0, 900), (0.25, 250)):
        world = Simulated(random.Random(5), by_choice, speeds=(*SPEEDS[:7], speed))
        world.join(7)
        world.run(1500, 2.0, chat("hello"))
        assert world.shares()[7] == 0
        world.join(8)
        joined = len(world.answered)
        world.run(300, 2.0, chat("hello"))
        assert world.shares(since=joined)[7] >= 10, "an epoch has several times as many requests"
        world.run(1200, 2.0, chat("hello"))
        assert world.shares(since=joined)[7] < most


def test_conversations_stay_with_their_miner_and_never_beyond_its_bound() -> None:
    world = Simulated(random.Random(6), by_choice, speeds=(1.0,) * 6)
    talks = [[f"document {number} " + "word " * 400] for number in range(40)]
    last: dict[int, int] = {}
    stayed = turns = 0
    for turn in range(600):
        number = world.chance.randrange(len(talks))
        world.advance(world.chance.expovariate(1.0))
        world.ask(chat(*talks[number]))
        one = world.answered[-1]
        if len(talks[number]) > 1:
            turns += 1
            stayed += one.uid == last[number]
        last[number] = one.uid
        talks[number] = [*talks[number], "answer", f"question {turn}"][:9]
    assert stayed > 0.6 * turns, (stayed, turns)
    sought = [one for one in world.answered if one.familiar]
    assert len(sought) > 200
    assert all(one.in_flight < one.bound for one in sought)


def test_a_flood_of_one_conversation_spreads_over_the_miners() -> None:
    world = Simulated(random.Random(7), by_choice, speeds=(1.0,) * 6)
    request = chat("one prompt " + "word " * 400)
    world.run(20, 0.1, request)
    for _ in range(120):
        world.ask(request)
    most = max(miner.in_flight for miner in world.table.all())
    assert most <= 1.5 * 120 / 6
    assert all(one.in_flight < one.bound for one in world.answered if one.familiar)


def test_a_miner_that_fails_everything_is_asked_only_to_prove_itself() -> None:
    world = Simulated(random.Random(8), by_choice, speeds=(1.0,) * 4, failing=frozenset({2}))
    for _ in range(2000):
        world.advance(0.5)
        world.ask(chat("hello"))
    failed = 2000 - len(world.answered)
    assert 1000 / 60 / 2 < failed < 2.5 * 1000 / 60, "about once a minute"
    assert world.table.breaker_states()[2] != "closed"


def test_rejected_miners_get_their_small_share_and_return_when_the_audits_do() -> None:
    world = Simulated(random.Random(9), by_choice, speeds=(1.0, 1.0, 1.0, 4.0))
    world.standings.replace({"hotkey-3": AuditStanding(10, 0, rejected=True, epoch=1)})
    world.run(3000, 2.0, chat("hello"))
    assert 0.3 * REJECTED_SHARE < world.shares()[3] / 3000 < 2 * REJECTED_SHARE
    world.standings.replace({"hotkey-3": AuditStanding(20, 18, rejected=False, epoch=2)})
    returned = len(world.answered)
    world.run(3000, 2.0, chat("hello"))
    assert world.shares(since=returned)[3] > 1000, "it is the fastest"
