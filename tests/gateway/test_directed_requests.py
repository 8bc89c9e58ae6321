"""A trusted caller may name the miner that serves its request; nobody else may, and miners can't tell."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from bittensor import http_auth

from shared.directed_requests import MINER_HEADER, direct_request
from shared.inference_paths import CHAT_PATH
from shared.signing import Signer
from tests.gateway.running_gateway import CHAT, COMPLETION, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import Script, honest

GATEWAY, AUDITOR, STRANGER = keypair("gateway"), keypair("auditor"), keypair("stranger")


async def fail(request: web.Request, script: Script) -> web.StreamResponse:
    return web.json_response({"error": {"message": "broken"}}, status=500)


async def post(
    gateway: RunningGateway,
    miner: int,
    signer: Signer = GATEWAY,
    body: dict[str, Any] = CHAT,
    path: str = CHAT_PATH,
) -> httpx.Response:
    return await send(gateway, gateway.miners[miner].hotkey, signer, body, path)


async def send(
    gateway: RunningGateway, hotkey: str, signer: Signer, body: dict[str, Any] = CHAT, path: str = CHAT_PATH
) -> httpx.Response:
    data = json.dumps(body).encode()
    headers = direct_request(signer, path, data, GATEWAY.ss58_address, hotkey)
    return await raw(gateway, data, headers, path)


async def raw(
    gateway: RunningGateway, data: bytes, headers: dict[str, str], path: str = CHAT_PATH
) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        return await client.post(path, content=data, headers=headers)


def assert_refused(answer: httpx.Response, gateway: RunningGateway) -> None:
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("permission_error", "may_not_choose_miner")
    assert error["param"] == MINER_HEADER
    assert gateway.records() == []
    assert all(miner.bodies == [] for miner in gateway.miners)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_named_miner_serves(tmp_path: Path, stream: bool) -> None:
    async with running_gateway(tmp_path, honest, honest, honest) as gateway:
        answer = await post(gateway, 2, body=CHAT | {"stream": stream})
        assert answer.status_code == 200
        assert answer.headers["x-miner-uid"] == "2"
        assert [record.miner_uid for record in gateway.records()] == [2]


async def test_directed_requests_are_no_sample_of_routings(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        await post(gateway, 1)
        await gateway.openai.chat.completions.create(**CHAT)
        sampled = {load.uid: load.recent_requests for load in gateway.parts.table.loads(without=())}
        assert sampled == {0: 1.0, 1: 0.0}


async def test_a_directed_request_waits_for_room_like_any_other(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, honest, miner_concurrency=1, waiting_seconds=0.05) as gateway:
        gateway.parts.table.get(0).in_flight = 1
        answer = await post(gateway, 0)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
        gateway.parts.table.get(0).in_flight = 0
        assert (await post(gateway, 0)).status_code == 200


async def test_completions_can_be_directed_too(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        answer = await post(gateway, 1, body=COMPLETION, path="/v1/completions")
        assert answer.headers["x-miner-uid"] == "1"


async def test_a_listed_caller_is_trusted_and_others_are_not(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, trusted_callers=(AUDITOR.ss58_address,)) as gateway:
        assert_refused(await post(gateway, 0, STRANGER), gateway)
        assert (await post(gateway, 0, AUDITOR)).status_code == 200


async def test_nobody_but_the_gateways_own_hotkey_is_trusted_unless_listed(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert_refused(await post(gateway, 0, AUDITOR), gateway)


async def test_a_miner_named_without_a_signature_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        headers = {MINER_HEADER: gateway.miners[0].hotkey}
        assert_refused(await raw(gateway, json.dumps(CHAT).encode(), headers), gateway)


async def test_a_stolen_signature_chooses_no_other_miner(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        data = json.dumps(CHAT).encode()
        headers = direct_request(GATEWAY, CHAT_PATH, data, GATEWAY.ss58_address, gateway.miners[0].hotkey)
        headers[MINER_HEADER] = gateway.miners[1].hotkey
        assert_refused(await raw(gateway, data, headers), gateway)


async def test_a_directed_request_can_not_be_sent_again(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        data = json.dumps(CHAT).encode()
        headers = direct_request(GATEWAY, CHAT_PATH, data, GATEWAY.ss58_address, gateway.miners[0].hotkey)
        assert (await raw(gateway, data, headers)).status_code == 200
        assert (await raw(gateway, data, headers)).status_code == 403
        assert len(gateway.records()) == 1


async def test_a_stale_request_is_refused(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        data, hotkey = json.dumps(CHAT).encode(), gateway.miners[0].hotkey
        headers = http_auth.sign(
            GATEWAY,
            method="POST",
            path=f"{CHAT_PATH}?{MINER_HEADER}={hotkey}",
            body=data,
            receiver_ss58=GATEWAY.ss58_address,
            nonce_ns=1,
        )
        answer = await raw(gateway, data, headers | {MINER_HEADER: hotkey})
        assert_refused(answer, gateway)
        assert "freshness" in answer.json()["error"]["message"]


async def test_the_miner_sees_no_difference(tmp_path: Path) -> None:
    """Same header names, same body but for the ids and seeds that differ between any two requests."""
    seen: list[tuple[list[str], bytes]] = []

    async def note(request: web.Request, script: Script) -> web.StreamResponse:
        seen.append((list(request.headers), await request.read()))
        return await honest(request, script)

    async with running_gateway(tmp_path, note) as gateway:
        data = json.dumps(CHAT | {"seed": 4}).encode()
        assert (await raw(gateway, data, {"content-type": "application/json"})).status_code == 200
        assert (await post(gateway, 0, body=CHAT | {"seed": 4})).status_code == 200
        ordinary, directed = gateway.records()
    assert seen[0][0] == seen[1][0]
    assert MINER_HEADER not in {name.lower() for name in seen[1][0]}
    assert seen[0][1].replace(ordinary.request_id.encode(), directed.request_id.encode()) == seen[1][1]
    changing = {"request_id", "client_request", "client", "request_body", "receipt"}
    names = [ordinary.client, directed.client]
    assert all(re.fullmatch("[0-9a-f]{32}", name or "") for name in names), "clients of one kind"
    assert ordinary.model_dump(exclude=changing) == directed.model_dump(exclude=changing)


async def test_no_other_miner_is_tried_when_the_named_one_fails(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, fail, honest) as gateway:
        answer = await post(gateway, 0)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "miner_failed")
        assert [(record.miner_uid, record.outcome) for record in gateway.records()] == [(0, "failed")]


async def test_a_miner_that_rests_after_a_failure_gets_no_directed_request_either(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, fail, honest) as gateway:
        await post(gateway, 0)
        answer = await post(gateway, 0)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "named_miner_unavailable")
        assert "rests" in answer.json()["error"]["message"]
        assert int(answer.headers["retry-after"]) > 0
        gateway.clock.advance(3600)
        assert (await post(gateway, 0)).status_code == 502
        assert len(gateway.miners[0].bodies) == 2


async def test_an_unknown_or_uncallable_miner_is_503_and_leaves_no_record(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, honest, honest) as gateway:
        unknown = await send(gateway, STRANGER.ss58_address, GATEWAY)
        assert (unknown.status_code, unknown.json()["error"]["code"]) == (503, "named_miner_unavailable")
        gateway.miners[1].health["model"] = "another"
        await gateway.parts.discovery.refresh()
        answer = await post(gateway, 1)
        assert answer.status_code == 503
        assert "it serves 'another'" in answer.json()["error"]["message"]
        assert gateway.records() == []
