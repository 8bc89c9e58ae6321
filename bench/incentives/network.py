"""Requests on their way: the gateway's routing, retries and cooldowns, and what it records."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from bench.incentives.cheats import Trace
from bench.incentives.miners import Player, hotkey_address
from bench.incentives.population import Timing, timing
from bench.incentives.strategies import RESET, Conduct
from bench.incentives.traffic import ATTEMPTS, EPOCH_S, Arrival
from gateway.dispatch import MAX_REFUSALS
from gateway.miners import KnownMiner
from gateway.routing import choose
from shared.receipts import ChoiceReceipt, Receipt
from validator.request_facts import ChoiceFacts, RequestFacts

START_MS = 1_700_000_000_000
FAILED_AFTER_S = 1.0
"""When a broken attempt is given up."""

_DIGEST = "0" * 64
_GATEWAY = hotkey_address("gateway")


@dataclass(frozen=True)
class Served:
    """One attempt: what is published of it, and what an audit of it would find."""

    facts: RequestFacts
    trace: Trace
    audit_seed: int


class Network:
    """Routes requests to players and times their answers."""

    def __init__(self, players: Sequence[Player], random: random.Random) -> None:
        self._players, self._random = players, random
        self._in_flight: list[tuple[float, int, KnownMiner]] = []
        self._begun = 0

    def serve(self, epoch: int, requests: Sequence[Arrival]) -> list[Served]:
        """All attempts of an epoch."""
        players = {miner.uid: player for player in self._players for miner in player.known}
        known = {miner.uid: miner for player in self._players for miner in player.known}
        served: list[Served] = []
        for arrival in requests:
            served += self._attempts(epoch, arrival, players, known)
        return served

    def _attempts(
        self, epoch: int, arrival: Arrival, players: dict[int, Player], known: dict[int, KnownMiner]
    ) -> list[Served]:
        left, made = dict(known), list[Served]()
        now_s = epoch * EPOCH_S + arrival.at_s
        for attempt in range(ATTEMPTS):
            self._end_until(now_s)
            chosen = choose([miner.load(now_s) for miner in left.values()], now_s, self._random)
            if chosen is None:
                break
            miner = left.pop(chosen.uid)
            made.append(self._attempt(epoch, arrival, attempt, now_s, players[miner.uid], miner))
            outcomes = [one.facts.outcome for one in made]
            if outcomes[-1] == "answered" or outcomes.count("refused") >= MAX_REFUSALS:
                break
            now_s += FAILED_AFTER_S
        return made

    def _end_until(self, now_s: float) -> None:
        while self._in_flight and self._in_flight[0][0] <= now_s:
            heapq.heappop(self._in_flight)[2].end()

    def _attempt(
        self, epoch: int, arrival: Arrival, attempt: int, now_s: float, player: Player, miner: KnownMiner
    ) -> Served:
        conduct = _conduct(player, arrival, attempt, miner.hotkey)
        taken = timing(player.strategy.machine, arrival, conduct.speed_up / _shared_by(player, arrival))
        if conduct.outcome != "answered":
            taken = Timing(0.0, FAILED_AFTER_S * 1000)
        self._begun += 1
        miner.begin(now_s)
        ends_s = now_s + taken.duration_ms / 1000
        heapq.heappush(self._in_flight, (ends_s, self._begun, miner))
        if conduct.outcome == "answered":
            miner.succeeded()
        elif conduct.outcome == "failed":
            miner.failed(ends_s)
        client_request = f"epoch-{epoch:04d}-{arrival.number:06d}"
        name = f"{client_request}-{attempt}"
        facts = _facts(name, f"{client_request}-0", arrival, conduct, taken, now_s, miner)
        return Served(facts, conduct.trace, arrival.audit_seed)


def _conduct(player: Player, arrival: Arrival, attempt: int, hotkey: str) -> Conduct:
    if arrival.faults[attempt] < player.strategy.machine.fault_share:
        return RESET
    return player.strategy.serve(arrival, player.situations[hotkey])


def _shared_by(player: Player, arrival: Arrival) -> int:
    """How many of its uids the machine works for while it answers."""
    return player.strategy.uids if arrival.guess < player.strategy.overlap else 1


def _facts(
    name: str,
    client_request: str,
    arrival: Arrival,
    conduct: Conduct,
    taken: Timing,
    now_s: float,
    miner: KnownMiner,
) -> RequestFacts:
    """The facts as `validator.request_facts.facts_of` makes them; valid by construction, not checked again.

    Each attempt has a name of its own and that of the first at the same request, as the gateway gives them.
    """
    answered = conduct.outcome == "answered"
    started_at_ms = START_MS + round(now_s * 1000)
    choice = _choice_facts(arrival.prompt_tokens, arrival.output_tokens)
    return RequestFacts.model_construct(
        version="request/1",
        request_id=name,
        client_request=client_request,
        gateway_hotkey=_GATEWAY,
        miner_uid=miner.uid,
        miner_hotkey=miner.hotkey,
        path="/v1/chat/completions",
        request_digest=_DIGEST,
        streamed=arrival.streamed,
        outcome=conduct.outcome,
        http_status={"answered": 200, "refused": 400}.get(conduct.outcome),
        started_at_ms=started_at_ms,
        finished_at_ms=started_at_ms + round(taken.duration_ms),
        ttft_ms=taken.ttft_ms if answered and arrival.streamed else None,
        duration_ms=taken.duration_ms,
        prompt_tokens=arrival.prompt_tokens if answered else 0,
        output_tokens=arrival.output_tokens if answered else 0,
        choices=(choice,) if answered else (),
        receipt=_receipt(name, arrival, conduct, taken, started_at_ms, miner.hotkey) if answered else None,
    )


def _receipt(
    name: str, arrival: Arrival, conduct: Conduct, taken: Timing, started_at_ms: int, hotkey: str
) -> Receipt:
    """What the miner signs, its own times included, which may be claims."""
    choice = _choice_receipt(arrival.prompt_tokens, arrival.output_tokens)
    return Receipt.model_construct(
        version="receipt/1",
        request_id=name,
        hotkey=hotkey,
        model="model",
        request_digest=_DIGEST,
        sampler="sampler",
        seed=0,
        calibration_digest=_DIGEST,
        num_layers=1,
        choices=(choice,),
        merkle_root=_DIGEST,
        leaves=8,
        received_at_ms=started_at_ms,
        first_token_at_ms=started_at_ms + round(taken.ttft_ms / conduct.claimed),
        finished_at_ms=started_at_ms + round(taken.duration_ms / conduct.claimed),
        signature=arrival.signature,
    )


@lru_cache(maxsize=1 << 16)
def _choice_facts(prompt_tokens: int, output_tokens: int) -> ChoiceFacts:
    return ChoiceFacts(
        index=0,
        prompt_digest=_DIGEST,
        prompt_tokens=prompt_tokens,
        output_digest=_DIGEST,
        output_tokens=output_tokens,
    )


@lru_cache(maxsize=1 << 16)
def _choice_receipt(prompt_tokens: int, output_tokens: int) -> ChoiceReceipt:
    return ChoiceReceipt(
        index=0,
        prompt_digest=_DIGEST,
        prompt_tokens=prompt_tokens,
        output_digest=_DIGEST,
        output_tokens=output_tokens,
        cached_tokens=0,
    )
