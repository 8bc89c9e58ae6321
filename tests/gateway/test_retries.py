"""Another miner is tried only while nothing has reached the client; each attempt has its own record."""

from pathlib import Path

import openai
import pytest
from aiohttp import web

from gateway.breaker import FIRST_COOLDOWN_S
from gateway.dispatch import MAX_RETRIES, RETRY_DEADLINE_S, error_for, worth_another
from gateway.errors import MinerFailure, MinerRefusal
from tests.gateway.running_gateway import CHAT, Exploring, FakeClock, running_gateway
from tests.gateway.scripted_miner import Behaviour, Script, honest


async def fail(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "broken"}}, status=500)


async def refuse(request: web.Request, script: Script) -> web.StreamResponse:
    error = {"message": "the context is 2048 tokens", "type": "BadRequestError", "code": "too_long"}
    return web.json_response({"error": error}, status=400)


async def fail_after_the_first_token(request: web.Request, script: Script) -> web.StreamResponse:
    return await script.stream(request, *script.events[:2])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_second_miner_answers_when_the_first_fails(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path, fail, honest) as gateway:
        answer = await gateway.openai.chat.completions.with_raw_response.create(**CHAT, stream=stream)
        assert answer.headers["x-miner-uid"] == "1"
        if stream:
            _ = [event async for event in answer.parse()]
        first, second = gateway.records()
        assert (first.outcome, first.miner_uid, first.http_status) == ("failed", 0, 500)
        assert (second.outcome, second.miner_uid) == ("answered", 1)
        assert first.request_id != second.request_id
        assert answer.headers["x-request-id"] == second.request_id


async def test_all_attempts_have_the_same_seed_and_their_own_ids(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, fail, fail, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT, seed=5)
        bodies = [miner.bodies[0] for miner in gateway.miners]
        assert {body["seed"] for body in bodies} == {5}
        assert len({body["request_id"] for body in bodies}) == 3


async def test_all_attempts_at_a_clients_request_are_recorded_as_serving_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, refuse, fail, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        records = gateway.records()
        assert [record.outcome for record in records] == ["refused", "failed", "answered"]
        assert {record.client_request for record in records} == {records[0].request_id}
        assert len({record.request_id for record in records}) == 3


async def test_two_requests_of_a_client_are_two_even_when_they_say_the_same(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, honest) as gateway:
        for _ in range(2):
            await gateway.openai.chat.completions.create(**CHAT)
        first, second = gateway.records()
        assert (first.client_request, second.client_request) == (first.request_id, second.request_id)
        assert first.client_request != second.client_request


async def test_no_miner_is_told_that_another_was_asked_before_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, refuse, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        refused, answered = (miner.bodies[0] for miner in gateway.miners)
        assert refused.keys() == answered.keys()
        assert refused["request_id"] not in answered.values()


async def test_at_most_two_retries(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, *[fail] * 5) as gateway:
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT)
        assert caught.value.status_code == 502
        assert [record.outcome for record in gateway.records()] == ["failed"] * (1 + MAX_RETRIES)
        assert len({record.miner_uid for record in gateway.records()}) == 1 + MAX_RETRIES


async def test_no_retry_after_the_first_byte(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, fail_after_the_first_token, honest) as gateway:
        stream = await gateway.openai.chat.completions.create(**CHAT, stream=True)
        with pytest.raises(openai.APIError):
            _ = [event async for event in stream]
        assert [record.outcome for record in gateway.records()] == ["failed"]
        assert gateway.miners[1].bodies == []


async def test_a_refusal_is_passed_on_when_a_second_miner_agrees(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, refuse, refuse, honest) as gateway:
        with pytest.raises(openai.BadRequestError) as caught:
            await gateway.openai.chat.completions.create(**CHAT)
        assert "2048 tokens" in caught.value.message
        assert caught.value.code == "too_long"
        assert [record.outcome for record in gateway.records()] == ["refused", "refused"]
        assert [record.http_status for record in gateway.records()] == [400, 400]
        assert gateway.miners[2].bodies == []


async def test_a_lying_refusal_does_not_keep_the_client_from_an_answer(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, refuse, honest) as gateway:
        await gateway.openai.chat.completions.create(**CHAT)
        assert [record.outcome for record in gateway.records()] == ["refused", "answered"]


async def test_the_only_miners_refusal_is_passed_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, refuse) as gateway:
        with pytest.raises(openai.BadRequestError):
            await gateway.openai.chat.completions.create(**CHAT, stream=True)


async def test_a_failed_miner_rests_and_comes_back(tmp_path: Path) -> None:
    def once() -> Behaviour:
        calls: list[int] = []

        async def behave(request: web.Request, script: Script) -> web.StreamResponse:
            calls.append(1)
            return await (fail if len(calls) == 1 else honest)(request, script)

        return behave

    async with running_gateway(tmp_path, once(), honest, random_source=Exploring()) as gateway:
        for _ in range(3):
            await gateway.openai.chat.completions.create(**CHAT)
        assert [record.miner_uid for record in gateway.records()] == [0, 1, 1, 1]
        assert gateway.parts.table.breaker_states() == {0: "open", 1: "closed"}
        shown = gateway.parts.table.statuses()[0]["breaker"]
        assert shown == {"state": "open", "failures_in_a_row": 1, "rests_for_s": FIRST_COOLDOWN_S}
        gateway.clock.advance(FIRST_COOLDOWN_S)
        assert gateway.parts.table.breaker_states() == {0: "half_open", 1: "closed"}
        await gateway.openai.chat.completions.create(**CHAT)
        assert gateway.records()[-1].miner_uid == 0
        assert gateway.parts.table.breaker_states() == {0: "closed", 1: "closed"}


async def test_no_miner_is_503_with_a_time_to_retry(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.parts.table.update([])
        with pytest.raises(openai.InternalServerError) as caught:
            await gateway.openai.chat.completions.create(**CHAT)
        assert (caught.value.status_code, caught.value.code) == (503, "no_miner_available")
        assert int(caught.value.response.headers["retry-after"]) > 0
        assert gateway.records() == []


def test_no_attempt_begins_after_the_deadline() -> None:
    failure = [MinerFailure("it failed")]
    assert worth_another(failure, RETRY_DEADLINE_S - 1)
    assert not worth_another(failure, RETRY_DEADLINE_S)


async def test_a_retry_deadline_that_has_passed_ends_the_attempts(tmp_path: Path) -> None:
    clock: list[FakeClock] = []

    async def slow_failure(request: web.Request, script: Script) -> web.StreamResponse:
        clock[0].advance(RETRY_DEADLINE_S)
        return await fail(request, script)

    async with running_gateway(tmp_path, slow_failure, honest) as gateway:
        clock.append(gateway.clock)
        with pytest.raises(openai.InternalServerError):
            await gateway.openai.chat.completions.create(**CHAT)
        assert gateway.miners[1].bodies == []


def test_a_refusal_tells_the_client_more_than_a_failure() -> None:
    refusal = MinerRefusal("too long", 400, None, None)
    assert error_for([refusal, MinerFailure("it hung")]).status == 400
    assert error_for([MinerFailure("it hung"), refusal]).status == 400
    assert (
        error_for([MinerFailure("it hung"), MinerFailure("it broke")]).message
        == "The miner failed: it broke."
    )
