"""Whether a miner behind the real gateway can tell synthetic requests from organic ones: it can only guess.

What this shows: fields, values, lengths, order, headers, conversations and timing give nothing away, and no
text does as long as both kinds come from one kind of corpus. What it can't show: that the texts of a public
grammar look like those of a particular subnet's users.
"""

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from shared.record_log import RecordReader
from tests.gateway.running_gateway import RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import MODEL, Script, honest
from tests.validator.organic_clients import Clientele, two_halves
from tests.validator.traffic_classifier import EPOCH_S, Arrival, chance_limit, held_out_accuracy
from validator.synthetic_client import GatewayAddress, GatewayClient
from validator.synthetic_observer import TrafficObserver
from validator.synthetic_prompts import GrammarPrompts, PromptSource
from validator.synthetic_requests import RequestWriter
from validator.synthetic_state import StateFile, SyntheticState
from validator.synthetic_traffic import SyntheticTraffic
from validator.troubles import Troubles

GATEWAY = keypair("gateway")
LEARNED_FROM = 300
EACH = 300
ORGANIC_GAP_S = 60.0
TARGET = 38
"""With one organic request a minute, about as many synthetic ones follow: (2·38 − 50) in 25 minutes."""

Traffic = list[Arrival]


class Simulation:
    """Organic clients and an auditor in front of one miner, on a clock that jumps from event to event."""

    def __init__(
        self,
        gateway: RunningGateway,
        http: httpx.AsyncClient,
        organic: PromptSource,
        synthetic: PromptSource,
        seed: int,
    ) -> None:
        self._gateway, self._http = gateway, http
        self._chance = random.Random(seed)
        self.clientele = Clientele(organic, random.Random(seed + 1))
        chance, clock = random.Random(seed + 2), gateway.clock.unix_ms
        state = SyntheticState(key="07" * 32)
        self.observer = TrafficObserver(RecordReader(gateway.folder), state, 2 * TARGET, chance)
        writer = RequestWriter(MODEL, synthetic, self.observer.identity, chance)
        client = GatewayClient(http, GatewayAddress(gateway.url, GATEWAY.ss58_address), GATEWAY)
        miners = [gateway.miners[0].hotkey]
        self.troubles = Troubles()
        self.traffic = SyntheticTraffic(
            lambda: miners,
            TARGET,
            EPOCH_S,
            client,
            writer,
            self.observer,
            StateFile(gateway.folder / "synthetic.json"),
            self.troubles,
            clock,
            chance,
        )

    async def organic(self) -> None:
        path, body = self.clientele.request()
        answer = await self._http.post(self._gateway.url + path, json=body)
        assert answer.status_code == 200, answer.text

    def gap_s(self) -> float:
        return self._chance.expovariate(1 / ORGANIC_GAP_S)

    async def both(self, sent: list[bool]) -> None:
        """Go on until there are EACH synthetic ones; `sent` notes for each request whether it was one."""
        clock, organic_in_s = self._gateway.clock, self.gap_s()
        while sent.count(True) < EACH:
            wait_s, hotkey = self.traffic.next()
            if organic_in_s <= wait_s:
                clock.advance(organic_in_s)
                organic_in_s = self.gap_s()
                sent.append(False)
                await self.organic()
                await self.traffic.follow()
                continue
            clock.advance(wait_s)
            organic_in_s -= wait_s
            if hotkey is not None:
                sent.append(True)
                await self.traffic.ask(hotkey)
                await self.traffic.follow()


async def arrivals(folder: Path, organic: PromptSource, synthetic: PromptSource, seed: int) -> Traffic:
    """What the miner saw, in order; the first LEARNED_FROM are organic, and what the auditor learned from."""
    seen: list[tuple[float, str, tuple[tuple[str, str], ...], bytes]] = []
    clock: list[Callable[[], float]] = []

    async def note(request: web.Request, script: Script) -> web.StreamResponse:
        headers = tuple(request.headers.items())
        seen.append((clock[0](), request.path, headers, await request.read()))
        return await honest(request, script)

    async with (
        running_gateway(folder, note, random_source=random.Random(seed)) as gateway,
        httpx.AsyncClient(trust_env=False, timeout=60) as http,
    ):
        clock.append(gateway.clock.monotonic_s)
        simulation = Simulation(gateway, http, organic, synthetic, seed)
        for _ in range(LEARNED_FROM):
            gateway.clock.advance(simulation.gap_s())
            await simulation.organic()
        await simulation.traffic.follow()
        sent = [False] * LEARNED_FROM
        await simulation.both(sent)
        assert simulation.troubles.all() == {}
        assert len(simulation.observer.reservoir.shapes) == sent.count(False)
    assert len(sent) == len(seen)
    return [Arrival(*one, synthetic=kind) for one, kind in zip(seen, sent, strict=True)]


async def _traffic(kind: str, folder: Path) -> Traffic:
    if kind == "grammar":
        return await arrivals(folder, GrammarPrompts(), GrammarPrompts(), seed=1)
    return await arrivals(folder, *two_halves(folder, random.Random(5)), seed=2)


@pytest.fixture(scope="module", params=["grammar", "corpus"])
def traffic(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Traffic:
    return asyncio.run(_traffic(request.param, tmp_path_factory.mktemp(request.param)))


def accuracy(traffic: Sequence[Arrival]) -> tuple[float, float]:
    """(held-out accuracy, what guessing reaches at most)."""
    found, size = held_out_accuracy(traffic[:LEARNED_FROM], traffic[LEARNED_FROM:], seed=9)
    return found, chance_limit(size)


def test_a_miner_can_only_guess_which_requests_are_synthetic(traffic: Traffic) -> None:
    found, limit = accuracy(traffic)
    assert found <= limit


def with_body(arrival: Arrival, body: dict[str, Any]) -> Arrival:
    return replace(arrival, raw=json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode())


def another_agent(arrival: Arrival) -> Arrival:
    return replace(arrival, headers=(*arrival.headers[:-1], (arrival.headers[-1][0], "auditor")))


def one_header_more(arrival: Arrival) -> Arrival:
    return replace(arrival, headers=(*arrival.headers, ("X-Miner-Hotkey", "5F")))


def fields_in_another_order(arrival: Arrival) -> Arrival:
    return with_body(arrival, dict(sorted(arrival.body.items())))


def always_the_same_length(arrival: Arrival) -> Arrival:
    return with_body(arrival, {**arrival.body, "max_tokens": 77})


def at_the_end_of_the_epoch(arrival: Arrival) -> Arrival:
    return replace(arrival, at_s=arrival.at_s - arrival.at_s % EPOCH_S + 0.95 * EPOCH_S)


def another_form_of_id(arrival: Arrival) -> Arrival:
    return with_body(arrival, {**arrival.body, "request_id": "probe_" + arrival.body["request_id"][:20]})


def a_word_of_its_own(arrival: Arrival) -> Arrival:
    marked = json.loads(
        arrival.raw.replace(b'"content":"', b'"content":"Zyx! ').replace(b'"prompt":"', b'"prompt":"Zyx! ')
    )
    return with_body(arrival, marked)


def never_a_conversation(arrival: Arrival) -> Arrival:
    messages = arrival.body.get("messages")
    return with_body(arrival, {**arrival.body, "messages": messages[-1:]}) if messages else arrival


@pytest.mark.parametrize(
    ("mark", "at_least"),
    [
        (another_agent, 0.99),
        (one_header_more, 0.99),
        (fields_in_another_order, 0.9),
        (always_the_same_length, 0.95),
        (at_the_end_of_the_epoch, 0.9),
        (another_form_of_id, 0.99),
        (a_word_of_its_own, 0.85),
        (never_a_conversation, 0.65),
    ],
)
def test_a_marked_synthetic_request_is_told_apart_at_once(
    traffic: Traffic, mark: Callable[[Arrival], Arrival], at_least: float
) -> None:
    marked = [mark(one) if one.synthetic else one for one in traffic]
    found, limit = accuracy(marked)
    assert found >= at_least > limit
