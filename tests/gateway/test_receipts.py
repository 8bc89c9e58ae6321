"""From an answer to its miner, its signed receipt and its audit; and nothing of what was said."""

import asyncio
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from bittensor.sp_core import verify
from hypothesis import given
from hypothesis import strategies as st

from gateway.answer_provenance import digest_of
from gateway.receipt_lookup import LOOKUPS_PER_MINUTE
from shared.receipts import Receipt, receipt_digest
from tests.gateway.published_gateway import audited_gateway, follow
from tests.gateway.publishing_rig import PublishingRig
from tests.gateway.running_gateway import (
    CHAT,
    COMPLETION,
    HANG_S,
    RunningGateway,
    keypair,
    running_gateway,
)
from tests.gateway.scripted_miner import WORDS, Script, event, honest
from tests.gateway.test_misbehaving_miners import answers, streams
from tests.shared.keys import MINER
from tests.shared.receipt_examples import example_receipt

CANARY = "xyzzy-canary-7f3"
SECRET_CHAT = CHAT | {"messages": [{"role": "user", "content": f"Who knows {CANARY}?"}]}


async def post(
    gateway: RunningGateway, body: dict[str, Any], path: str = "chat/completions"
) -> httpx.Response:
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        return await client.post(f"{gateway.url}/v1/{path}", json=body)


async def receipt_of(gateway: RunningGateway, request_id: str, status: int = 200) -> dict[str, Any]:
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        answer = await client.get(f"{gateway.url}/v1/receipts/{request_id}")
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


# --- The receipt


async def test_a_receipt_is_told_as_the_miner_signed_it(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
        (record,) = gateway.records()
    assert told["receipt"] == record.receipt
    assert told["receipt_digest"] == answer.headers["x-receipt-digest"]
    assert told["signature"] == {
        "valid": True,
        "signer": gateway.miners[0].hotkey,
        "words": "signed by the miner",
    }
    request = told["request"]
    assert (request["miner_uid"], request["miner_hotkey"]) == (0, gateway.miners[0].hotkey)
    assert (request["outcome"], request["prompt_tokens"], request["output_tokens"]) == ("answered", 3, 4)
    assert request["request_digest"] == told["receipt"]["request_digest"]
    assert request["choices"][0]["output_digest"] == told["receipt"]["choices"][0]["output_digest"]


async def test_a_client_can_check_digest_and_signature_by_itself(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, CHAT)
        receipt = (await receipt_of(gateway, answer.headers["x-request-id"]))["receipt"]

    def plain(fields: dict[str, Any]) -> bytes:
        return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    assert hashlib.sha256(plain(receipt)).hexdigest() == answer.headers["x-receipt-digest"]
    signature = bytes.fromhex(receipt.pop("signature").removeprefix("0x"))
    signed = b"constantinople/receipt/1\x00" + plain(receipt)
    assert verify(signed, signature, answer.headers["x-miner-hotkey"])
    assert not verify(signed + b" ", signature, answer.headers["x-miner-hotkey"])


def other_signer(receipt: dict[str, Any]) -> dict[str, Any]:
    return receipt | {"hotkey": keypair("stranger").ss58_address}


def another_root(receipt: dict[str, Any]) -> dict[str, Any]:
    return receipt | {"merkle_root": "2" * 64}


@pytest.mark.parametrize("change", [other_signer, another_root])
async def test_a_signature_that_is_not_the_miners_is_called_so(
    tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    lying = answers(lambda answer: answer | {"receipt": change(answer["receipt"])})
    async with running_gateway(tmp_path, lying) as gateway:
        answer = await post(gateway, CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
    assert told["signature"]["valid"] is False
    assert "not by" in told["signature"]["words"]


async def test_another_miners_receipt_is_called_so(tmp_path: Path) -> None:
    stolen = example_receipt(MINER).model_dump(mode="json")
    async with running_gateway(tmp_path, answers(lambda answer: answer | {"receipt": stolen})) as gateway:
        answer = await post(gateway, CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
    assert told["receipt"] == stolen
    assert told["signature"]["valid"] is False
    assert f"the request went to {gateway.miners[0].hotkey}" in told["signature"]["words"]


async def test_what_is_no_receipt_is_not_told(tmp_path: Path) -> None:
    leak = {"prompt": CANARY}
    async with running_gateway(tmp_path, answers(lambda answer: answer | {"receipt": leak})) as gateway:
        answer = await post(gateway, SECRET_CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
    assert (told["receipt"], told["receipt_digest"], told["signature"]["valid"]) == (None, None, False)
    assert CANARY not in json.dumps(told)


async def test_all_attempts_at_a_request_are_told(tmp_path: Path) -> None:
    async def quotes(request: web.Request, script: Script) -> web.StreamResponse:
        said = {"error": {"message": f"I was asked {CANARY}", "type": "x"}}
        return web.json_response(said, status=500)

    async with running_gateway(tmp_path, quotes, honest) as gateway:
        answer = await post(gateway, SECRET_CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
        failed, answered = told["attempts"]
        first = await receipt_of(gateway, failed["request_id"])
    assert [failed["outcome"], answered["outcome"]] == ["failed", "answered"]
    assert [failed["miner_hotkey"], answered["miner_hotkey"]] == [one.hotkey for one in gateway.miners]
    assert answered["request_id"] == told["request"]["request_id"] == answer.headers["x-request-id"]
    assert first["request"]["outcome"] == "failed"
    assert first["receipt"] is None
    assert first["signature"]["words"] == "the miner sent none"
    assert first["attempts"] == told["attempts"]
    assert CANARY not in json.dumps([told, first])


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_receipt_shows_no_text_and_no_tokens(tmp_path: Path, store: bool, stream: bool) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, SECRET_CHAT | {"store": store, "stream": stream})
        told = json.dumps(await receipt_of(gateway, answer.headers["x-request-id"]))
        (record,) = gateway.records()
    assert CANARY in record.request_body, "auditors need it"
    assert CANARY not in told
    assert WORDS[0] not in told
    for name in ("request_body", "token_ids", 'client"', 'error"', "text_sha256"):
        assert name not in told


async def test_an_unknown_request_is_404_and_nothing_is_told_of_others(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await post(gateway, CHAT)
        for asked in ("0" * 32, "short", "a" * 65, "%2e%2e%5c", "' OR 1=1", "%00" * 8, "_" * 32):
            told = await receipt_of(gateway, asked, status=404)
            assert told["error"]["code"] in ("receipt_not_found", "not_found")


async def test_a_receipt_is_read_with_get_alone(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, httpx.AsyncClient() as client:
        answer = await client.delete(f"{gateway.url}/v1/receipts/{'0' * 32}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (405, "method_not_allowed")


async def test_who_asks_too_often_is_told_to_wait(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway, httpx.AsyncClient(timeout=HANG_S) as client:
        url = f"{gateway.url}/v1/receipts/short"
        statuses = [(await client.get(url)).status_code for _ in range(LOOKUPS_PER_MINUTE)]
        assert set(statuses) == {404}
        refused = await client.get(url)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        gateway.clock.advance(float(refused.headers["retry-after"]))
        assert (await client.get(url)).status_code == 404


async def test_a_receipt_is_told_after_a_restart(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        request_id = (await post(gateway, CHAT)).headers["x-request-id"]
    async with running_gateway(tmp_path) as gateway:
        assert (await receipt_of(gateway, request_id))["signature"]["valid"]


async def test_an_index_that_can_not_be_read_is_503_and_the_gateway_goes_on(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        request_id = (await post(gateway, CHAT)).headers["x-request-id"]
        with gateway.parts.provenance._database.writing() as connection:
            connection.exec_driver_sql("DROP TABLE record_places")
        told = await receipt_of(gateway, request_id, status=503)
        assert told["error"]["code"] == "receipts_unavailable"
        assert (await post(gateway, CHAT)).status_code == 200


# --- The audit


async def test_without_a_store_nothing_is_said_of_audits(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
    assert told["audit"]["state"] == "unknown"
    assert "--store" in told["audit"]["words"]


async def test_an_audit_is_pending_and_then_told_with_its_epoch(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        answer = await post(gateway, CHAT)
        request_id = answer.headers["x-request-id"]
        await follow(gateway)
        before = await receipt_of(gateway, request_id)
        sealed = await rig.publish(gateway.records())
        await follow(gateway)
        after = (await receipt_of(gateway, request_id))["audit"]
        [verdict] = rig.rows("verdicts", 1)
        where = rig.key("verdicts", 1)
        stands = gateway.parts.provenance.standings.of(gateway.miners[0].hotkey)
    assert before["audit"]["state"] == "pending"
    assert after["state"] == "audited"
    assert after["epoch"]["number"] == 1
    assert after["epoch"]["summary_digest"] == hashlib.sha256(sealed.data).hexdigest()
    assert after["epoch"]["publisher"] == keypair("gateway").ss58_address
    assert after["file"] == where
    told = after["verdict"]
    for name in ("outcome", "check", "reason", "log_e", "challenge_block", "challenge_seed"):
        assert told[name] == getattr(verdict, name)
    assert told["points_checked"] == len(verdict.points)
    assert stands is not None
    assert (stands.audits, stands.passes, stands.rejected) == (1, 1, False)


async def test_a_failed_audit_is_told_with_its_reason(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        rig.fails(gateway.miners[0].hotkey)
        answer = await post(gateway, CHAT)
        await rig.publish(gateway.records())
        await follow(gateway)
        told = (await receipt_of(gateway, answer.headers["x-request-id"]))["audit"]["verdict"]
    assert (told["outcome"], told["check"]) == ("fail", "sketch")
    assert told["reason"] == "the sketches are too far off"


async def test_an_answer_that_was_not_drawn_is_told_so(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        for _ in range(40):
            await post(gateway, CHAT)
        await rig.publish(gateway.records())
        gateway.clock.advance((rig.now_ms - gateway.clock.unix_ms()) / 1000)
        ids = [(await post(gateway, CHAT)).headers["x-request-id"] for _ in range(40)]
        await rig.publish(gateway.records()[40:])
        await follow(gateway)
        states = [(await receipt_of(gateway, one))["audit"]["state"] for one in ids]
        verdicts = len(rig.rows("verdicts", 2))
    assert states.count("audited") == verdicts > 0
    assert states.count("not_drawn") == 40 - verdicts > 0


async def test_of_a_failed_attempt_it_is_told_that_only_answers_are_audited(tmp_path: Path) -> None:
    broken = answers(lambda answer: b"nonsense")
    async with audited_gateway(tmp_path, broken, honest) as (gateway, rig):
        answer = await post(gateway, CHAT)
        await rig.publish(gateway.records())
        await follow(gateway)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
        failed = await receipt_of(gateway, told["attempts"][0]["request_id"])
    assert failed["audit"]["state"] == "not_drawn"
    assert "only answers are audited" in failed["audit"]["words"]


async def test_a_request_of_the_next_epoch_is_pending_and_says_until_when(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        await post(gateway, CHAT)
        await rig.publish(gateway.records())
        await follow(gateway)
        summary = rig.summary(1)
        gateway.clock.advance((summary.closed_at_ms - gateway.clock.unix_ms()) / 1000 + 1)
        late = (await post(gateway, CHAT)).headers["x-request-id"]
        pending = (await receipt_of(gateway, late))["audit"]
        gateway.clock.advance(3600)
        overdue = (await receipt_of(gateway, late))["audit"]
    assert pending["state"] == "pending"
    assert "late" not in pending["words"]
    assert summary.closed_at_ms < pending["expected_at_ms"] < summary.closed_at_ms + 600_000
    assert pending["newest_epoch"]["number"] == 1
    assert overdue["state"] == "pending"
    assert "it is late: epoch 1, the newest, was closed 60 minutes ago" in overdue["words"]


async def test_a_request_that_no_epoch_lists_is_unknown(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        lost = (await post(gateway, CHAT)).headers["x-request-id"]
        gateway.clock.advance(600)
        for _ in range(2):
            await rig.publish([])
        await follow(gateway)
        told = (await receipt_of(gateway, lost))["audit"]
    assert told["state"] == "unknown"
    assert "epochs 1 to 2" in told["words"]


async def test_a_store_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        rig.store.put("epochs/latest.json", b"nonsense")
        follower = gateway.parts.provenance.follower
        assert follower is not None
        await follower.step()
        answer = await post(gateway, CHAT)
        told = (await receipt_of(gateway, answer.headers["x-request-id"]))["audit"]
    assert told["state"] == "pending"
    assert told["trouble"] == "what is published is not believed"
    assert str(tmp_path) not in json.dumps(told)


@pytest.mark.parametrize("named", [True, False])
async def test_a_publisher_needs_a_permit_or_to_be_named(tmp_path: Path, named: bool) -> None:
    stranger = keypair("stranger")
    rig = PublishingRig(tmp_path, [keypair("miner0")], 1_700_001_000_000, stranger)
    settings = {"publisher": stranger.ss58_address} if named else {}
    async with running_gateway(tmp_path, store=str(rig.location), **settings) as gateway:
        follower = gateway.parts.provenance.follower
        assert follower is not None
        await rig.publish([])
        await follower.step()
        assert (follower.trouble is None) == named
    async with running_gateway(tmp_path, store=str(rig.location), chain=rig.chain) as gateway:
        await follow(gateway)
    rig.close()


# --- Which text is published


def published_text(rig: PublishingRig) -> dict[str, str]:
    """What can be read in each object of the store, unpacked."""
    told = {}
    for key in rig.store.keys(""):
        data = rig.store.get(key)
        tables = key.endswith(".parquet")
        told[key] = str(pq.read_table(io.BytesIO(data)).to_pylist()) if tables else data.decode()
    return told


@pytest.mark.parametrize("by_default", [True, False])
@pytest.mark.parametrize("store", [True, False, None])
async def test_text_is_published_as_the_request_says_and_in_one_table_alone(
    tmp_path: Path, store: bool | None, by_default: bool
) -> None:
    said = {} if store is None else {"store": store}
    async with audited_gateway(tmp_path, store_by_default=by_default) as (gateway, rig):
        await post(gateway, SECRET_CHAT | said)
        await post(gateway, SECRET_CHAT | said | {"stream": True})
        await post(gateway, COMPLETION | {"prompt": CANARY} | said, "completions")
        await post(gateway, SECRET_CHAT | {"max_tokens": 9} | said, "messages")
        await post(gateway, {"input": CANARY} | said, "responses")
        records = gateway.records()
        await rig.publish(records)
        told, texts = published_text(rig), rig.key("texts", 1)
        rows = rig.rows("requests", 1)
    published = by_default if store is None else store
    assert all(CANARY in record.request_body for record in records)
    assert [record.store for record in records] == [published] * 5
    assert [row.text_published for row in rows] == [published] * 5
    assert (CANARY in told[texts]) == published
    del told[texts]
    assert all(CANARY not in text for text in told.values())
    assert all("honestly" not in text for text in told.values())


# --- What the answer itself says


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_stream_names_its_receipt_last_where_it_is_asked_to(tmp_path: Path, path: str) -> None:
    body = CHAT if path.startswith("chat") else COMPLETION
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, body | {"stream": True, "provenance": True}, path)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
        ids = {json.loads(line[6:])["id"] for line in answer.text.split("\n\n") if line.startswith("data: {")}
    *events, last, done, rest = answer.text.split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunk = json.loads(last.removeprefix("data: "))
    assert ids == {chunk["id"]}
    assert chunk["choices"] == []
    assert chunk["provenance"] == {
        "request_id": answer.headers["x-request-id"],
        "miner_uid": 0,
        "miner_hotkey": gateway.miners[0].hotkey,
        "receipt_digest": told["receipt_digest"],
        "receipt": f"/v1/receipts/{answer.headers['x-request-id']}",
    }
    assert not any("provenance" in event for event in events)
    assert "x-receipt-digest" not in answer.headers


@pytest.mark.parametrize("path", ["chat/completions", "completions"])
async def test_a_whole_answer_names_its_receipt_where_it_is_asked_to(tmp_path: Path, path: str) -> None:
    body = CHAT if path.startswith("chat") else COMPLETION
    async with running_gateway(tmp_path) as gateway:
        answer = await post(gateway, body | {"provenance": True}, path)
    told = answer.json()["provenance"]
    assert told["receipt_digest"] == answer.headers["x-receipt-digest"]
    assert told["miner_hotkey"] == gateway.miners[0].hotkey
    assert told["receipt"] == f"/v1/receipts/{answer.headers['x-request-id']}"


@pytest.mark.parametrize("asked", [{}, {"provenance": False}, {"provenance": None}])
async def test_who_does_not_ask_gets_an_answer_without_it(tmp_path: Path, asked: dict[str, Any]) -> None:
    async with running_gateway(tmp_path) as gateway:
        whole = await post(gateway, CHAT | asked)
        stream = await post(gateway, CHAT | asked | {"stream": True})
    assert "provenance" not in whole.text + stream.text
    assert "x-receipt-digest" in whole.headers


async def test_a_miner_is_not_told_that_somebody_looks_at_receipts(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        await post(gateway, CHAT | {"provenance": True, "seed": 1})
        await post(gateway, CHAT | {"seed": 1})
        (asking, plain) = (body | {"request_id": ""} for body in gateway.miners[0].bodies)
    assert asking == plain


async def test_provenance_must_be_true_or_false(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        refused = await post(gateway, CHAT | {"provenance": "yes"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "provenance"


async def test_a_miner_can_not_speak_for_the_gateway(tmp_path: Path) -> None:
    forged = {"provenance": {"receipt_digest": "0" * 64}}
    whole = answers(lambda answer: answer | forged)
    async with running_gateway(tmp_path, whole) as gateway:
        refused = await post(gateway, CHAT | {"provenance": True})
        assert refused.status_code == 502
    in_stream = streams(lambda events: [events[0], event({"choices": [], **forged}), *events[1:]])
    async with running_gateway(tmp_path, in_stream) as gateway:
        broken = await post(gateway, CHAT | {"stream": True, "provenance": True})
        (*_, record) = gateway.records()
    assert "0" * 64 not in broken.text
    assert "miner_failed" in broken.text
    assert record.outcome == "failed"


async def test_openai_clients_take_the_extra_field_and_the_extra_chunk(tmp_path: Path) -> None:
    extra: dict[str, Any] = {"extra_body": {"provenance": True}}
    async with running_gateway(tmp_path) as gateway:
        client = gateway.openai
        whole = await client.chat.completions.create(**CHAT, **extra)
        raw = await client.chat.completions.with_raw_response.create(**CHAT, **extra)
        chunks = [chunk async for chunk in await client.chat.completions.create(**CHAT, stream=True, **extra)]
        texts = [chunk async for chunk in await client.completions.create(**COMPLETION, stream=True, **extra)]

        def in_a_thread() -> list[Any]:
            return list(gateway.openai_sync.chat.completions.create(**CHAT, stream=True, **extra))

        sync_chunks = await asyncio.to_thread(in_a_thread)
        async with client.chat.completions.stream(**CHAT, **extra) as stream:
            final = await stream.get_final_completion()
    assert whole.choices[0].message.content == "".join(WORDS)
    assert whole.model_extra is not None
    assert len(whole.model_extra["provenance"]["receipt_digest"]) == 64
    assert raw.headers["x-receipt-digest"] == raw.parse().model_extra["provenance"]["receipt_digest"]
    for got in (chunks, sync_chunks, texts):
        assert got[-1].choices == []
        assert got[-1].provenance["request_id"]
        assert all("provenance" not in (one.model_extra or {}) for one in got[:-1])
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "".join(WORDS)
    assert final.choices[0].message.content == "".join(WORDS)


@given(seed=st.none() | st.integers(-(1 << 63), (1 << 63) - 1), model=st.text(max_size=256))
def test_the_fast_digest_is_the_receipts_digest(seed: int | None, model: str) -> None:
    receipt = example_receipt(MINER).model_copy(update={"seed": seed, "model": model})
    fields = json.loads(receipt.model_dump_json())
    assert digest_of(fields) == receipt_digest(Receipt.model_validate_json(json.dumps(fields)))
