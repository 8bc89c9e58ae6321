"""The auditor's own requests: who gets them, what is learned from them, and what is done about trouble."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from shared.inference_paths import CHAT_PATH, COMPLETIONS_PATH
from shared.record_log import RecordReader, RecordWriter
from tests.gateway.running_gateway import FakeClock, keypair, running_gateway
from tests.gateway.scripted_miner import MODEL, WORDS, Behaviour, Script, honest
from tests.validator.auditor_examples import example_record
from validator.synthetic_client import GatewayAddress, GatewayClient, GatewayTrouble, Reply, first_text
from validator.synthetic_observer import TrafficObserver
from validator.synthetic_prompts import GrammarPrompts, Opening
from validator.synthetic_requests import Draft, RequestWriter
from validator.synthetic_state import StateFile, SyntheticState, load_state
from validator.synthetic_traffic import LONGEST_GAP_S, MOST_UNANSWERED, SUBJECT, SyntheticTraffic
from validator.troubles import Troubles

AUDITOR, GATEWAY = keypair("auditor"), keypair("gateway")
TARGET, WINDOW_S = 3, 60.0


class Rig:
    """Synthetic traffic around a client, in a time that passes only while it sleeps."""

    def __init__(self, folder: Path, client: Any, miners: list[str]) -> None:
        self.clock, self.miners, self.troubles = FakeClock(), miners, Troubles()
        self.state_file = folder / "synthetic.json"
        chance = random.Random(1)
        state = SyntheticState(key="07" * 32)
        self.observer = TrafficObserver(RecordReader(folder / "records"), state, 2 * TARGET, chance)
        self.writer = RequestWriter(MODEL, GrammarPrompts(), self.observer.identity, chance)
        self.slept = 0
        self.enough = asyncio.Event()
        self.traffic = SyntheticTraffic(
            lambda: self.miners,
            TARGET,
            WINDOW_S,
            client,
            self.writer,
            self.observer,
            StateFile(self.state_file),
            self.troubles,
            self.clock.unix_ms,
            chance,
            self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.slept += 1
        await asyncio.sleep(0)

    async def run_until(self, condition: Callable[[], bool]) -> None:
        running = asyncio.create_task(self.traffic.run())
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Asked:
    """A client that notes what it is asked, and answers or hangs."""

    def __init__(self, answer: str | None = "An answer.", trouble: str = "", hang: bool = False) -> None:
        self.drafts: list[tuple[str, Draft]] = []
        self.answer, self.trouble, self.hang = answer, trouble, hang

    async def ask(self, draft: Draft, miner_hotkey: str) -> Reply:
        self.drafts.append((miner_hotkey, draft))
        if self.hang:
            await asyncio.Event().wait()
        if self.trouble:
            raise GatewayTrouble(self.trouble)
        return Reply(self.answer, f"request-{len(self.drafts):04d}")


async def test_every_miner_is_asked_about_as_often(tmp_path: Path) -> None:
    asked = Asked()
    rig = Rig(tmp_path, asked, ["one", "two"])
    await rig.run_until(lambda: len(asked.drafts) >= 200)
    share = sum(hotkey == "one" for hotkey, _ in asked.drafts) / len(asked.drafts)
    assert 0.35 < share < 0.65


async def test_without_miners_nobody_is_asked(tmp_path: Path) -> None:
    asked = Asked()
    rig = Rig(tmp_path, asked, [])
    await rig.run_until(lambda: rig.slept > 20)
    assert asked.drafts == []
    assert rig.traffic.next() == (LONGEST_GAP_S, None)


async def test_requests_under_way_count_so_that_a_slow_miner_is_not_flooded(tmp_path: Path) -> None:
    asked = Asked(hang=True)
    rig = Rig(tmp_path, asked, ["slow"])
    await rig.run_until(lambda: rig.slept > 300)
    assert len(asked.drafts) == 2 * TARGET


async def test_miners_that_hang_can_not_hold_more_than_so_many_requests(tmp_path: Path) -> None:
    asked = Asked(hang=True)
    rig = Rig(tmp_path, asked, [f"miner {number}" for number in range(100)])
    await rig.run_until(lambda: rig.slept > 300)
    assert len(asked.drafts) == MOST_UNANSWERED


async def test_a_probe_gives_its_id_and_nothing_goes_on_from_its_answer(tmp_path: Path) -> None:
    for probed in (True, False):
        asked = Asked("An answer that is told apart.")
        rig = Rig(tmp_path / str(probed), asked, ["one"])
        for number in range(1, 61):
            if not probed:
                await rig.traffic.ask("one")
                continue
            reply = await rig.traffic.probe(rig.traffic.write_probe(seeded=True), "one")
            assert reply == Reply(asked.answer, f"request-{number:04d}")
        went_on = [one for _, one in asked.drafts if one.talk.history]
        assert bool(went_on) is not probed


async def test_a_probes_answer_does_not_count_as_one_that_its_miner_needs(tmp_path: Path) -> None:
    for probed in (True, False):
        rig = Rig(tmp_path / str(probed), asked := Asked(), ["one"])
        if probed:
            await rig.traffic.probe(rig.traffic.write_probe(seeded=False), "one")
        else:
            await rig.traffic.ask("one")
        ((_, draft),) = asked.drafts
        body = json.dumps(draft.body)
        record = example_record(1, finished_at_ms=rig.clock.unix_ms())
        writer = RecordWriter(tmp_path / str(probed) / "records")
        writer.append(record.model_copy(update={"request_body": body}))
        writer.close()
        rig.observer.follow()
        assert rig.observer.answers_since(record.miner_hotkey, 0) == (0 if probed else 1)


async def test_a_seeded_probe_has_one_answer_and_others_their_clients_seed_or_none(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Asked(), ["one"])
    seeded = [rig.traffic.write_probe(seeded=True).body for _ in range(200)]
    plain = [rig.traffic.write_probe(seeded=False).body for _ in range(200)]
    assert all(isinstance(body["seed"], int) for body in seeded)
    assert len({body["seed"] for body in seeded}) > 150
    assert 0 < sum("seed" in body for body in plain) < 60


async def test_a_probe_that_the_gateway_does_not_take_has_no_id(tmp_path: Path) -> None:
    rig = Rig(tmp_path, Asked(trouble="the gateway can't be reached"), ["one"])
    assert await rig.traffic.probe(rig.traffic.write_probe(seeded=False), "one") is None
    assert SUBJECT in rig.troubles.all()


async def test_trouble_with_the_gateway_is_told_and_passes(tmp_path: Path) -> None:
    asked = Asked(trouble="the gateway can't be reached")
    rig = Rig(tmp_path, asked, ["one"])
    await rig.traffic.ask("one")
    assert "not audited enough" in rig.troubles.all()[SUBJECT]
    asked.trouble = ""
    await rig.traffic.ask("one")
    assert rig.troubles.all() == {}


async def test_a_defect_in_one_request_does_not_end_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Asked):
        async def ask(self, draft: Draft, miner_hotkey: str) -> Reply:
            await super().ask(draft, miner_hotkey)
            raise ZeroDivisionError("a defect")

    broken = Broken()
    rig = Rig(tmp_path, broken, ["one"])
    await rig.run_until(lambda: len(broken.drafts) >= 3)
    assert "a defect" in caplog.text


async def test_what_was_learned_is_stored_at_the_end(tmp_path: Path) -> None:
    asked = Asked()
    rig = Rig(tmp_path, asked, ["one"])
    await rig.run_until(lambda: len(asked.drafts) >= 2)
    assert load_state(rig.state_file) == rig.observer.state()
    assert load_state(rig.state_file).own


@asynccontextmanager
async def behind_a_gateway(
    tmp_path: Path, *behaviours: Behaviour, trusted: bool = True
) -> AsyncIterator[tuple[Any, GatewayClient]]:
    callers = (AUDITOR.ss58_address,) if trusted else ()
    async with (
        running_gateway(
            tmp_path, *behaviours, trusted_callers=callers, random_source=random.Random(1)
        ) as gateway,
        httpx.AsyncClient(trust_env=False) as http,
    ):
        yield gateway, GatewayClient(http, GatewayAddress(gateway.url, GATEWAY.ss58_address), AUDITOR)


def draft(stream: bool = False, path: str = CHAT_PATH) -> Draft:
    body: dict[str, Any] = {"model": MODEL, "stream": stream}
    body |= {"messages": [{"role": "user", "content": "hé"}]} if path == CHAT_PATH else {"prompt": "hé"}
    return Draft(path, body, stream, Opening("hé"))


@pytest.mark.parametrize("path", [CHAT_PATH, COMPLETIONS_PATH])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_answer_of_the_named_miner_comes_back(tmp_path: Path, stream: bool, path: str) -> None:
    async with behind_a_gateway(tmp_path, honest, honest) as (gateway, client):
        reply = await client.ask(draft(stream, path), gateway.miners[1].hotkey)
        assert reply.text == "".join(WORDS)
        assert [record.miner_uid for record in gateway.records()] == [1]
        assert [record.request_id for record in gateway.records()] == [reply.request_id]
        assert gateway.miners[1].bodies[0].get("messages", [{"content": "hé"}])[0]["content"] == "hé"


async def fail(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "broken"}}, status=500)


async def refuse(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "no"}}, status=400)


async def break_off(request: web.Request, script: Script) -> web.StreamResponse:
    return await script.stream(request, *script.events[:2])


@pytest.mark.parametrize(("behaviour", "stream"), [(fail, False), (fail, True), (break_off, True)])
async def test_a_miner_that_fails_is_no_trouble_of_the_gateways(
    tmp_path: Path, behaviour: Behaviour, stream: bool
) -> None:
    async with behind_a_gateway(tmp_path, behaviour) as (gateway, client):
        reply = await client.ask(draft(stream), gateway.miners[0].hotkey)
        assert reply.text is None
        (record,) = gateway.records()
        assert (record.outcome, record.request_id) == ("failed", reply.request_id)
        assert (await client.ask(draft(stream), gateway.miners[0].hotkey)).text is None


@pytest.mark.parametrize("seeded", [True, False])
async def test_a_probe_that_is_refused_has_its_id_and_asked_again_with_its_seed_is_the_same(
    tmp_path: Path, seeded: bool
) -> None:
    async with behind_a_gateway(tmp_path, refuse) as (gateway, client):
        rig = Rig(tmp_path, client, [gateway.miners[0].hotkey])
        probe = rig.traffic.write_probe(seeded)
        if not seeded:
            probe.body.pop("seed", None)
        replies = [await rig.traffic.probe(probe, gateway.miners[0].hotkey) for _ in range(2)]
        records = gateway.records()
        assert [record.outcome for record in records] == ["refused"] * 2
        assert replies == [Reply(None, record.request_id) for record in records]
        first, again = ({**body, "request_id": ""} for body in gateway.miners[0].bodies)
        assert (first == again) is seeded


async def test_an_auditor_that_is_not_trusted_is_told_the_cure(tmp_path: Path) -> None:
    async with behind_a_gateway(tmp_path, trusted=False) as (gateway, client):
        with pytest.raises(GatewayTrouble, match=f"--trusted-callers {AUDITOR.ss58_address}"):
            await client.ask(draft(), gateway.miners[0].hotkey)


async def test_a_gateway_that_is_down_is_trouble() -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        client = GatewayClient(http, GatewayAddress("http://127.0.0.1:1", GATEWAY.ss58_address), AUDITOR)
        with pytest.raises(GatewayTrouble, match="can't be reached"):
            await client.ask(draft(), GATEWAY.ss58_address)


async def test_an_answered_chat_is_gone_on_with_through_the_gateway(tmp_path: Path) -> None:
    async with behind_a_gateway(tmp_path, honest) as (gateway, client):
        rig = Rig(tmp_path, client, [gateway.miners[0].hotkey])
        for _ in range(40):
            await rig.traffic.ask(gateway.miners[0].hotkey)
        bodies = gateway.miners[0].bodies
        long = [body for body in bodies if len(body.get("messages", ())) > 2]
        assert long
        for body in long:
            answers = [one["content"] for one in body["messages"] if one["role"] == "assistant"]
            assert set(answers) == {"".join(WORDS)}
        await rig.traffic.follow()
        assert rig.observer.reservoir.shapes == (), "its own requests teach it nothing"
        assert rig.troubles.all() == {}


def test_the_first_choice_is_read_from_events_and_answers() -> None:
    events = [{"choices": [{"index": n, "delta": {"content": t}}]} for n, t in ((0, "a"), (1, "x"), (0, "b"))]
    stream = "".join(f"data: {json.dumps(one)}\n\n" for one in events)
    assert first_text(stream + "data: [DONE]\n\n", streamed=True) == "ab"
    assert first_text(stream + 'data: {"error": {}}\n\n', streamed=True) is None
    assert first_text('{"choices": [{"index": 0, "text": "c"}]}', streamed=False) == "c"
