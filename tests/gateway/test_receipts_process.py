"""A gateway process and an auditor that publishes: a client asks for its receipt and sees the verdict."""

import asyncio
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.gateway.publishing_rig import PublishingRig
from tests.gateway.running_gateway import CHAT, HANG_S, keypair
from tests.gateway.scripted_miner import ScriptedMiner
from tests.gateway.test_process import callable_miners, gateway_process, make_wallet, records
from tests.validator.auditor_examples import AUDITOR


async def receipt(session: aiohttp.ClientSession, url: str, request_id: str) -> dict[str, Any]:
    async with session.get(f"{url}/v1/receipts/{request_id}") as answer:
        assert answer.status == 200, await answer.text()
        told: dict[str, Any] = await answer.json()
        return told


async def test_a_client_sees_its_receipt_at_once_and_the_verdict_when_it_is_published(tmp_path: Path) -> None:
    signer = make_wallet(tmp_path / "wallets", "validator").hotkey
    rig = PublishingRig(tmp_path, [keypair("miner0")], time.time_ns() // 1_000_000)
    follow = ("--store", str(rig.location), "--publisher", AUDITOR.ss58_address, "--store-seconds", "0.1")
    async with (
        ScriptedMiner(keypair("miner0"), signer.ss58_address).serving() as miner,
        gateway_process(tmp_path, "--miners", f"{miner.address}={miner.hotkey}", *follow) as (_, url),
        aiohttp.ClientSession() as session,
        asyncio.timeout(HANG_S),
    ):
        await callable_miners(url)
        async with session.post(f"{url}/v1/chat/completions", json=CHAT) as answer:
            request_id = answer.headers["x-request-id"]
            digest = answer.headers["x-receipt-digest"]
        before = await receipt(session, url, request_id)
        await rig.publish(records(tmp_path))
        while (after := await receipt(session, url, request_id))["audit"]["state"] == "pending":
            await asyncio.sleep(0.1)
    assert before["receipt_digest"] == digest
    assert before["signature"]["valid"]
    assert before["audit"]["state"] == "pending"
    assert after["audit"]["verdict"]["outcome"] == "pass"
    rig.close()
