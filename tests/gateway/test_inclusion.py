"""A request's place in the published log: told with its proof, checked by the command, lies found out."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.receipt_checks import (
    CheckFailed,
    check_anchor,
    check_answer,
    check_request,
    check_summary,
    checked_receipt,
)
from localnet.chain_node.config import NodeConfig
from shared.anchors import Anchor, decode_anchor
from shared.chain import SubtensorChain
from shared.merkle import path_leads_to_root
from shared.request_facts import RequestFacts
from tests.gateway.published_gateway import START_MS, audited_gateway, follow, publish_epochs
from tests.gateway.publishing_rig import PublishingRig
from tests.gateway.running_gateway import CHAT, COMPLETION, HANG_S, RunningGateway, keypair, running_gateway
from tests.gateway.scripted_miner import MODEL
from tests.gateway.test_process import REPOSITORY, make_wallet
from tests.gateway.test_receipts import post, receipt_of
from tests.localnet.chain_node.running_node import NETUID, RunningNode
from tests.validator.auditor_examples import FOLLOWER, many_records

Told = dict[str, Any]


async def asked_and_published(
    gateway: RunningGateway, rig: PublishingRig, others: int = 5, **fields: Any
) -> tuple[str, Told]:
    """The id and the receipt of a chat that an epoch lists among other requests."""
    answer = await post(gateway, CHAT | fields)
    request_id = answer.headers["x-request-id"]
    at = {"finished_at_ms": rig.now_ms}
    await rig.publish([*gateway.records(), *many_records(keypair("miner0"), 1, range(others), **at)])
    await follow(gateway)
    return request_id, await receipt_of(gateway, request_id)


async def test_the_receipt_proves_that_the_request_is_in_the_published_log(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        request_id, told = await asked_and_published(gateway, rig)
        summary, rows = rig.summary(1), rig.rows("requests", 1)
        digest = gateway.parts.provenance.follower._store.newest().digest  # type: ignore[union-attr]
    proof = told["inclusion"]
    assert (proof["state"], proof["epoch"], proof["size"]) == ("included", 1, 6)
    assert (proof["root"], proof["summary_digest"]) == (summary.records_root, digest)
    assert (proof["summary"], proof["publisher"]) == ("epochs/1.json", summary.publisher)
    assert rows[proof["index"]].request_id == request_id
    leaf = RequestFacts.model_validate_json(json.dumps(proof["record"])).leaf()
    path = [bytes.fromhex(sibling) for sibling in proof["path"]]
    assert path_leads_to_root(leaf, proof["index"], 6, path, bytes.fromhex(proof["root"]))
    anchor = decode_anchor(bytes.fromhex(proof["chain"]["commitment"]))
    assert anchor == Anchor(1, summary.records_root, digest)
    assert proof["chain"]["hotkey"] == summary.publisher


async def test_while_no_epoch_lists_it_a_request_has_no_proof(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, _):
        answer = await post(gateway, CHAT)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
    assert told["inclusion"]["state"] == "pending"
    assert set(told["inclusion"]) == {"state", "words"}


@pytest.mark.parametrize("column", ["output_tokens", "finished_at_ms", "miner_uid"])
async def test_an_epoch_with_other_facts_than_the_gateway_recorded_is_told_to_differ(
    tmp_path: Path, column: str
) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        answer = await post(gateway, CHAT)
        [record] = gateway.records()
        await rig.publish([record.model_copy(update={column: getattr(record, column) + 1})])
        await follow(gateway)
        told = await receipt_of(gateway, answer.headers["x-request-id"])
    assert told["inclusion"]["state"] == "differs"
    assert "path" not in told["inclusion"]
    assert "other facts than this gateway recorded" in told["inclusion"]["words"]
    with pytest.raises(CheckFailed, match="other facts"):
        checked_receipt(json.dumps(told).encode(), answer.headers["x-request-id"])


# --- Checking it


async def test_the_command_checks_receipt_request_answer_and_log(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        body = CHAT | {"return_token_ids": True, "temperature": 0.5}
        answer = await post(gateway, body)
        request_id = answer.headers["x-request-id"]
        await rig.publish(gateway.records())
        (tmp_path / "request.json").write_text(json.dumps(body))
        (tmp_path / "answer.json").write_bytes(answer.content)
        files = ("--request", tmp_path / "request.json", "--answer", tmp_path / "answer.json")
        early = await run(gateway, request_id)
        await follow(gateway)
        status, said = await run(gateway, request_id, *files)
        wrong = await run(gateway, request_id, "--publisher", FOLLOWER.ss58_address)
        (tmp_path / "request.json").write_text(json.dumps(body | {"temperature": 0.6}))
        other = await run(gateway, request_id, *files)
        unknown = await run(gateway, "0" * 32)
    assert status == 0, said
    assert [line.split()[0] for line in said.splitlines()] == ["receipt", "answer", "request", "log", "audit"]
    assert f"signed by {gateway.miners[0].hotkey}" in said
    assert f"record 0 of the 1 of epoch 1, which {keypair('gateway').ss58_address} signed" in said
    assert early == (
        0,
        f"receipt  signed by {gateway.miners[0].hotkey}\n"
        "log      pending: no epoch of the network has been read yet\n",
    )
    assert wrong[0] == 1
    assert "FAILS    the summary is by" in wrong[1]
    assert other[0] == 1
    assert "FAILS    the saved request is not the one" in other[1]
    assert unknown[0] == 2


async def run(gateway: RunningGateway, request_id: str, *more: Any) -> tuple[int, str]:
    """Exit status and output of the command."""
    command = (sys.executable, "-m", "gateway.check_receipt", "--gateway", gateway.url, "--id", request_id)
    process = await asyncio.create_subprocess_exec(
        *command, *map(str, more), stdout=PIPE, stderr=PIPE, env=dict(os.environ), cwd=REPOSITORY
    )
    async with asyncio.timeout(HANG_S):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def in_proof(name: str, change: Callable[[Any], Any]) -> Callable[[Told], None]:
    def apply(told: Told) -> None:
        told["inclusion"][name] = change(told["inclusion"][name])

    return apply


def in_record(name: str, value: Any) -> Callable[[Told], None]:
    def apply(told: Told) -> None:
        told["inclusion"]["record"][name] = value

    return apply


def in_receipt(name: str, value: Any) -> Callable[[Told], None]:
    def apply(told: Told) -> None:
        told["receipt"][name] = value

    return apply


LIES: dict[str, tuple[Callable[[Told], None], str]] = {
    "another place": (in_proof("index", lambda index: (index + 1) % 6), "does not lead"),
    "another size": (in_proof("size", lambda size: size * 64), "does not lead"),
    "a shorter path": (in_proof("path", lambda path: path[1:]), "does not lead"),
    "another sibling": (in_proof("path", lambda path: ["0" * 64, *path[1:]]), "does not lead"),
    "another root": (in_proof("root", lambda _: "0" * 64), "does not lead"),
    "other tokens": (in_record("output_tokens", 7), "does not lead"),
    "another miner's uid": (in_record("miner_uid", 7), "does not lead"),
    "text published": (in_record("text_published", False), "does not lead"),
    "no receipt in the record": (in_record("receipt", None), "another receipt"),
    "a path that is none": (in_proof("path", lambda _: ["x"]), "not what it should be"),
    "an older receipt": (in_receipt("finished_at_ms", 5), "not signed by its miner"),
    "another digest": (lambda told: told.update(receipt_digest="0" * 64), "digest"),
    "no receipt at all": (lambda told: told.update(receipt=None), "signed nothing"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_gateway_that_lies_about_the_log_is_found_out(tmp_path: Path, lie: str) -> None:
    change, words = LIES[lie]
    async with audited_gateway(tmp_path) as (gateway, rig):
        request_id, told = await asked_and_published(gateway, rig)
    checked_receipt(json.dumps(told).encode(), request_id)
    change(told)
    with pytest.raises(CheckFailed, match=words):
        checked_receipt(json.dumps(told).encode(), request_id)


async def test_another_requests_receipt_is_found_out(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        _, told = await asked_and_published(gateway, rig)
    with pytest.raises(CheckFailed, match="about the request"):
        checked_receipt(json.dumps(told).encode(), "0" * 32)


async def test_a_proof_to_another_summary_than_is_published_is_found_out(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        request_id, told = await asked_and_published(gateway, rig)
        proof = checked_receipt(json.dumps(told).encode(), request_id).proof
        assert proof is not None
        assert check_summary(proof, rig.store, None).summary.epoch == 1
        with pytest.raises(CheckFailed, match="not by"):
            check_summary(proof, rig.store, FOLLOWER.ss58_address)
        rig.lie(1, records_root="0" * 64)
        with pytest.raises(CheckFailed, match="another one than the gateway names"):
            check_summary(proof, rig.store, None)
        digest = gateway.parts.provenance.follower._published.pointer().digest  # type: ignore[union-attr]
        with pytest.raises(CheckFailed, match="does not state"):
            check_summary(proof.model_copy(update={"summary_digest": digest}), rig.store, None)
        rig.change("epochs/1.json", lambda data: data.replace(b'"records":6', b'"records":7'))
        with pytest.raises(CheckFailed, match="not signed by"):
            check_summary(proof, rig.store, None)


async def test_the_chain_covers_an_epoch_and_those_before_it(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        request_id, told = await asked_and_published(gateway, rig)
        proof = checked_receipt(json.dumps(told).encode(), request_id).proof
        assert proof is not None
        own = Anchor(1, proof.root, proof.summary_digest)
        assert "covers it" in check_anchor(own, proof, rig.store)
        await publish_epochs(gateway, rig, 2)
        newest = gateway.parts.provenance.follower._store.newest()  # type: ignore[union-attr]
        assert newest is not None
        later = Anchor(3, newest.records_root, newest.digest)
        assert "epoch 3 covers it" in check_anchor(later, proof, rig.store)
        assert "not there yet" in check_anchor(Anchor(0, proof.root, proof.root), proof, rig.store)
        for wrong in (
            Anchor(1, "0" * 64, proof.summary_digest),
            Anchor(1, proof.root, "0" * 64),
            Anchor(3, newest.records_root, "0" * 64),
            Anchor(2, newest.records_root, newest.digest),
        ):
            with pytest.raises(CheckFailed, match="chain leads to"):
                check_anchor(wrong, proof, rig.store)


async def test_the_command_asks_a_real_chain_for_the_commitment(tmp_path: Path) -> None:
    wallet = make_wallet(tmp_path / "wallets", "auditor")
    rig = PublishingRig(tmp_path, [keypair("miner0")], START_MS, wallet.hotkey)
    follow_it = {"store": str(rig.location), "publisher": wallet.hotkey.ss58_address}
    with RunningNode(NodeConfig(port=0, block_seconds=0)) as node:
        await asyncio.to_thread(node.register, wallet)
        chain = SubtensorChain(node.url, NETUID, wallet)
        where = ("--network", node.url, "--netuid", NETUID)
        async with running_gateway(tmp_path, **follow_it) as gateway:
            request_id, told = await asked_and_published(gateway, rig)
            before = await run(gateway, request_id, *where)
            await chain.set_commitment(bytes.fromhex(told["inclusion"]["chain"]["commitment"]))
            holds = await run(gateway, request_id, *where)
            await chain.set_commitment(Anchor(1, "0" * 64, "0" * 64).encode())
            lies = await run(gateway, request_id, *where)
        await chain.close()
    rig.close()
    assert before[0] == 1
    assert "has committed to no epoch on chain" in before[1]
    assert holds[0] == 0
    assert "chain    the commitment to epoch 1 covers it" in holds[1]
    assert lies[0] == 1
    assert "FAILS    the chain leads to another summary of epoch 1" in lies[1]


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_with_other_tokens_is_found_out(tmp_path: Path, stream: bool) -> None:
    async with audited_gateway(tmp_path) as (gateway, _):
        answer = await post(gateway, CHAT | {"stream": stream, "return_token_ids": True})
        request_id = answer.headers["x-request-id"]
        told = await receipt_of(gateway, request_id)
    receipt = checked_receipt(json.dumps(told).encode(), request_id).receipt
    check_answer(answer.content, receipt)
    for name in ("output_digest", "index"):
        value = "0" * 64 if name == "output_digest" else 1
        [choice] = receipt.choices
        other = receipt.model_copy(update={"choices": (choice.model_copy(update={name: value}),)})
        with pytest.raises(CheckFailed, match="other tokens"):
            check_answer(answer.content, other)
    for nonsense in (b"", b"nonsense", b"[]", b'{"choices":[{"index":0}]}', b'data: {"choices":3}'):
        with pytest.raises(CheckFailed, match="saved answer"):
            check_answer(nonsense, receipt)


@pytest.mark.parametrize(
    "body", [CHAT, CHAT | {"seed": 5, "stop": ["x"]}, CHAT | {"stream": True}, COMPLETION]
)
async def test_another_request_than_was_sent_is_found_out(tmp_path: Path, body: Told) -> None:
    path = "chat/completions" if "messages" in body else "completions"
    async with audited_gateway(tmp_path) as (gateway, _):
        answer = await post(gateway, body, path)
        request_id = answer.headers["x-request-id"]
        told = await receipt_of(gateway, request_id)
    receipt = checked_receipt(json.dumps(told).encode(), request_id).receipt
    check_request(json.dumps(body).encode(), MODEL, receipt, f"/v1/{path}")
    for change in ({"max_tokens": 3}, {"temperature": 0.1}):
        with pytest.raises(CheckFailed, match="not the one"):
            check_request(json.dumps(body | change).encode(), MODEL, receipt, f"/v1/{path}")
    with pytest.raises(CheckFailed, match="not one"):
        check_request(b"nonsense", MODEL, receipt, f"/v1/{path}")
