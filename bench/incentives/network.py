"""Requests on their way: the gateway's routing, retries and cooldowns, and what it records."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from bench.incentives.cheats import Trace
from bench.incentives.miners import Player
from bench.incentives.population import Machine, Timing, timing
from bench.incentives.pressed import Handled, Pressed, unanswered_s
from bench.incentives.records import attempt_facts
from bench.incentives.rounds import SECRET, Call
from bench.incentives.strategies import RESET, Conduct
from bench.incentives.traffic import ATTEMPTS, EPOCH_S, Arrival
from gateway.breaker import Pass
from gateway.dispatch import MAX_REFUSALS
from gateway.miners import KnownMiner
from gateway.pace import Measured, PaceBook, prompt_band
from gateway.requested_tokens import BYTES_PER_TOKEN
from gateway.routing import Asked, MinerLoad, can_be_next, choose
from validator.probe_rounds import ProbeRound, RoundRequests, members
from validator.request_facts import RequestFacts


@dataclass(frozen=True)
class Served:
    """One attempt: what is published of it, and what an audit of it would find."""

    facts: RequestFacts
    trace: Trace
    audit_seed: int
    written: int = 0
    """Tokens of an answer that broke off."""


class Network:
    """Routes requests to players and times their answers."""

    def __init__(self, players: Sequence[Player], random: random.Random) -> None:
        self._players, self._random = players, random
        self._in_flight: list[tuple[float, int, KnownMiner]] = []
        self._begun = 0
        self._paces = PaceBook()

    def serve(
        self, epoch: int, requests: Sequence[Arrival], due: Sequence[Call] = ()
    ) -> tuple[list[Served], list[ProbeRound]]:
        """All attempts of an epoch, and the rounds that some of them belong to."""
        players = {miner.uid: player for player in self._players for miner in player.known}
        known = {miner.uid: miner for player in self._players for miner in player.known}
        served: list[Served] = []
        held: list[ProbeRound] = []
        events: list[Arrival | Call] = [*requests, *due]
        for event in sorted(events, key=lambda one: one.at_s):
            if isinstance(event, Arrival):
                served += self._attempts(epoch, event, players, known)
            else:
                made, one = self._round(epoch, event, players, known)
                served += made
                held.append(one)
        return served, held

    def _round(
        self, epoch: int, call: Call, players: dict[int, Player], known: dict[int, KnownMiner]
    ) -> tuple[list[Served], ProbeRound]:
        """Ask the members, each directly and once."""
        now_s = epoch * EPOCH_S + call.at_s
        self._end_until(now_s)
        hotkeys = sorted(miner.hotkey for miner in known.values())
        drawn = set(members(SECRET, call.block.hash, call.full, hotkeys))
        asked = [miner for miner in known.values() if miner.hotkey in drawn]
        served, listed = (
            self._pressed(epoch, call, players, asked)
            if call.full
            else self._once(epoch, call, players, asked, known)
        )
        held = ProbeRound(
            block=call.block.number,
            block_hash=call.block.hash,
            block_at_ms=call.block.timestamp_ms,
            full=call.full,
            requests_each=call.requests_each,
            miners=tuple(hotkeys),
            asked=tuple(sorted(listed, key=lambda one: one.hotkey)),
        )
        return served, held

    def _once(
        self,
        epoch: int,
        call: Call,
        players: dict[int, Player],
        asked: Sequence[KnownMiner],
        known: dict[int, KnownMiner],
    ) -> tuple[list[Served], list[RoundRequests]]:
        now_s = epoch * EPOCH_S + call.at_s
        loads = [miner.load(now_s) for miner in known.values()]
        served: list[Served] = []
        listed: list[RoundRequests] = []
        for miner in asked:
            player = players[miner.uid]
            own = [one.uid for one in asked if players[one.uid] is player]
            probed = _probed(call, player, own, miner.uid)
            count = call.requests_each if can_be_next(miner.uid, loads, now_s) else 0
            made = [
                self._attempt(epoch, call.request(miner.uid, number), 0, now_s, player, miner, probed)
                for number in range(count)
            ]
            served += made
            names = tuple(one.facts.request_id for one in made)
            listed.append(RoundRequests(hotkey=miner.hotkey, request_ids=names))
        return served, listed

    def _pressed(
        self, epoch: int, call: Call, players: dict[int, Player], asked: Sequence[KnownMiner]
    ) -> tuple[list[Served], list[RoundRequests]]:
        """Ask each member again and again; its machine works for all of its hotkeys."""
        now_s = epoch * EPOCH_S + call.at_s
        members_of: dict[int, list[KnownMiner]] = {}
        for miner in asked:
            members_of.setdefault(players[miner.uid].place, []).append(miner)
        served: list[Served] = []
        for own in members_of.values():
            player, by_uid = players[own[0].uid], {miner.uid: miner for miner in own}

            def ask(
                uid: int,
                number: int,
                again: int,
                player: Player = player,
                by_uid: dict[int, KnownMiner] = by_uid,
            ) -> tuple[Arrival, Conduct]:
                arrival = call.request(uid, number, again)
                return arrival, _conduct(player, arrival, 0, by_uid[uid].hotkey, None)

            strategy = player.strategy
            machine = Pressed(
                strategy.machine, strategy.together, now_s, now_s + call.lasts_s, call.block.number
            )
            handled = machine.serve([(miner.uid, miner.breaker.ready_at_s) for miner in own], ask)
            served += [self._recorded(call, by_uid[one.uid], strategy.machine, one) for one in handled]
            for miner in own:
                ends_s = max((one.ended_s for one in handled if one.uid == miner.uid), default=now_s)
                entered = self._occupy(miner, now_s, ends_s, free=False)
                last = max(
                    (one for one in handled if one.uid == miner.uid),
                    key=lambda one: one.ended_s,
                    default=None,
                )
                if last is None or last.conduct.outcome == "refused":
                    miner.breaker.told_nothing(entered)
                elif last.conduct.outcome == "failed":
                    miner.failed(entered, last.ended_s)
                else:
                    miner.succeeded(entered, last.ended_s)
        listed = [
            RoundRequests(
                hotkey=miner.hotkey,
                request_ids=tuple(
                    sorted(one.facts.request_id for one in served if one.facts.miner_hotkey == miner.hotkey)
                ),
            )
            for miner in asked
        ]
        return served, listed

    def _recorded(self, call: Call, miner: KnownMiner, machine: Machine, one: Handled) -> Served:
        name = f"round-{call.block.number:06d}-{miner.uid:03d}-{one.place:06d}"
        duration_ms = (one.ended_s - one.started_s) * 1000
        alone = timing(machine, one.arrival, one.conduct.speed_up)
        taken = Timing(alone.ttft_ms * max(1.0, duration_ms / alone.duration_ms), duration_ms)
        facts = attempt_facts(
            f"{name}-0",
            f"{name}-0",
            one.arrival.client,
            one.arrival,
            one.conduct,
            taken,
            one.started_s,
            miner,
        )
        return Served(facts, one.conduct.trace, one.arrival.audit_seed)

    def _occupy(self, miner: KnownMiner, now_s: float, ends_s: float, free: bool) -> Pass:
        """Count one request as under way; `free` when routing chose the miner for it."""
        self._begun += 1
        entered = miner.begin(now_s, free=free)
        heapq.heappush(self._in_flight, (ends_s, self._begun, miner))
        return entered

    def _attempts(
        self, epoch: int, arrival: Arrival, players: dict[int, Player], known: dict[int, KnownMiner]
    ) -> list[Served]:
        left, made = dict(known), list[Served]()
        now_s = epoch * EPOCH_S + arrival.at_s
        for attempt in range(ATTEMPTS):
            self._end_until(now_s)
            chosen = self._choose(arrival, list(left.values()), now_s)
            if chosen is None:
                break
            miner = left.pop(chosen.uid)
            made.append(self._attempt(epoch, arrival, attempt, now_s, players[miner.uid], miner))
            outcomes = [one.facts.outcome for one in made]
            broken = arrival.streamed and made[-1].written
            if outcomes[-1] == "answered" or outcomes.count("refused") >= MAX_REFUSALS or broken:
                break
            now_s += made[-1].facts.duration_ms / 1000
        return made

    def _choose(self, arrival: Arrival, miners: Sequence[KnownMiner], now_s: float) -> MinerLoad | None:
        band = _band(arrival)
        loads = [miner.load(now_s, band) for miner in miners]
        return choose(loads, now_s, self._random, Asked(typical=self._paces.at(band)))

    def _end_until(self, now_s: float) -> None:
        while self._in_flight and self._in_flight[0][0] <= now_s:
            heapq.heappop(self._in_flight)[2].end()

    def _attempt(
        self,
        epoch: int,
        arrival: Arrival,
        attempt: int,
        now_s: float,
        player: Player,
        miner: KnownMiner,
        probed: "_Round | None" = None,
    ) -> Served:
        conduct = _conduct(player, arrival, attempt, miner.hotkey, probed)
        taken = timing(player.strategy.machine, arrival, conduct.speed_up / _longer(player, arrival, probed))
        if conduct.outcome != "answered":
            taken = Timing(0.0, unanswered_s(player.strategy.machine, arrival, conduct) * 1000)
        alongside = miner.in_flight
        ends_s = now_s + taken.duration_ms / 1000
        entered = self._occupy(miner, now_s, ends_s, free=probed is None)
        if conduct.outcome == "answered":
            miner.succeeded(entered, ends_s)
            answer = _measured(arrival, taken, alongside)
            typical = self._paces.at(answer.band)
            for paces in (miner.paces, self._paces):
                paces.add(answer, typical, ends_s)
        elif conduct.outcome == "failed":
            miner.failed(entered, ends_s)
        else:
            miner.breaker.told_nothing(entered)
        number = f"{arrival.number:06d}"
        client_request = f"{probed.name}-{number}" if probed else f"epoch-{epoch:04d}-{number}"
        name = f"{client_request}-{attempt}"
        client = self._client(arrival)
        facts = attempt_facts(name, f"{client_request}-0", client, arrival, conduct, taken, now_s, miner)
        return Served(facts, conduct.trace, arrival.audit_seed, conduct.written)

    def _client(self, arrival: Arrival) -> str:
        """Whose request it is: a flooding player's, under one of its keys, or the one that was drawn."""
        for player in self._players:
            if arrival.owner < player.strategy.floods:
                return f"flooder {player.place}/{arrival.number % player.strategy.keys}"
        return arrival.client


@dataclass(frozen=True)
class _Round:
    """A member's part in a round: how many times as long as alone it takes, or whether it is dropped."""

    name: str
    longer: float
    dropped: bool


def _probed(call: Call, player: Player, own: Sequence[int], uid: int) -> _Round:
    """What a machine does for `uid` when all of `own` are asked at once.

    Sharing its time evenly, it is done with the shorter answers first; queueing, with the earlier uids.
    """
    alone = {one: timing(player.strategy.machine, call.request(one, 0)).duration_ms for one in own}
    together, earlier = player.strategy.together, own[: own.index(uid)]
    if together == "share":
        took_ms = sum(min(one, alone[uid]) for one in alone.values())
    else:
        took_ms = alone[uid] + (sum(alone[one] for one in earlier) if together == "queue" else 0.0)
    name = f"round-{call.block.number:06d}-{uid:03d}"
    return _Round(name, took_ms / alone[uid], together == "drop" and bool(earlier))


def _band(arrival: Arrival) -> int:
    return prompt_band(arrival.prompt_tokens * BYTES_PER_TOKEN)


def _measured(arrival: Arrival, taken: Timing, alongside: int) -> Measured:
    """What the gateway measures of an answer."""
    first_s = taken.ttft_ms / 1000 if arrival.streamed else None
    return Measured(
        band=_band(arrival),
        first_s=first_s,
        rest_s=taken.duration_ms / 1000 - (first_s or 0.0),
        tokens=arrival.output_tokens,
        alongside=alongside,
        streamed=arrival.streamed,
    )


def _conduct(player: Player, arrival: Arrival, attempt: int, hotkey: str, probed: _Round | None) -> Conduct:
    if arrival.faults[attempt] < player.strategy.machine.fault_share or (probed and probed.dropped):
        return RESET
    return player.strategy.serve(arrival, player.situations[hotkey])


def _longer(player: Player, arrival: Arrival, probed: _Round | None) -> float:
    """How many times as long as alone an answer takes, for what else the machine works for."""
    if arrival.guess < player.strategy.overlap:
        return player.strategy.uids
    return probed.longer if probed else 1.0
