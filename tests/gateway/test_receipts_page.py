"""What docs/RECEIPTS.md tells people to run does what it says."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.gateway.published_gateway import audited_gateway, follow
from tests.gateway.running_gateway import CHAT, HANG_S, keypair, running_gateway
from tests.gateway.test_process import REPOSITORY, make_wallet
from tests.gateway.test_receipts import post, receipt_of
from tests.validator.auditor_examples import ExampleChain, many_records, neuron

PAGE = (REPOSITORY / "docs" / "RECEIPTS.md").read_text()
CHECK, BY_HAND, SIGN_IN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WHOLE, STREAM, RECEIPT, COMMAND, _ = re.findall(r"```\n((?:curl|python) .*?)```", PAGE, re.DOTALL)


async def run(*command: str, **variables: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env=os.environ | variables, cwd=REPOSITORY
    )
    async with asyncio.timeout(HANG_S):
        output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_check_of_a_receipt_runs_as_it_stands(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        said = await run(sys.executable, "-c", CHECK, GATEWAY=gateway.url)
    assert said == f"signed by {gateway.miners[0].hotkey} · audit: unknown\n"


async def test_both_checks_of_the_public_log_run_as_they_stand(tmp_path: Path) -> None:
    async with audited_gateway(tmp_path) as (gateway, rig):
        answer = await post(gateway, CHAT)
        others = many_records(keypair("miner0"), 1, range(6), finished_at_ms=rig.now_ms)
        await rig.publish([*gateway.records(), *others])
        await follow(gateway)
        variables = {"GATEWAY": gateway.url, "REQUEST_ID": answer.headers["x-request-id"]}
        told = (await receipt_of(gateway, variables["REQUEST_ID"]))["inclusion"]
        by_hand = await run(sys.executable, "-c", BY_HAND, **variables)
        folder = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        said = await run("bash", "-c", COMMAND, **variables, PATH=folder)
        rig.lie(1, records_root="0" * 64)
        refused = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", BY_HAND), stderr=PIPE, env=os.environ | variables, cwd=REPOSITORY
        )
        gateway.clock.advance(10)
        _, errors = await refused.communicate()
    assert by_hand == f"record {told['index']} of 7 in epoch 1\n"
    assert f"log      record {told['index']} of the 7 of epoch 1" in said
    assert refused.returncode == 1
    assert b"AssertionError" in errors


async def test_the_curls_run_as_they_stand(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        headers = await run("bash", "-c", WHOLE, GATEWAY=gateway.url)
        stream = await run("bash", "-c", STREAM, GATEWAY=gateway.url)
        request_id = re.search(r"x-request-id: (\S+)", headers)
        assert request_id is not None
        told = await run("bash", "-c", RECEIPT, GATEWAY=gateway.url, REQUEST_ID=request_id[1])
    assert {line.split(":")[0] for line in headers.splitlines()} >= {
        "x-request-id",
        "x-miner-uid",
        "x-miner-hotkey",
        "x-receipt-digest",
    }
    assert '"provenance":{"request_id":' in stream
    assert stream.endswith("data: [DONE]\n\n")
    assert '"signed by the miner"' in told


async def test_signing_in_runs_as_it_stands(tmp_path: Path) -> None:
    wallet = make_wallet(tmp_path / "wallets", "mine")
    chain = ExampleChain([neuron(wallet.hotkey, 7, None)])
    async with running_gateway(tmp_path, chain=chain, wallet_sign_in=True) as gateway:
        where = {"GATEWAY": gateway.url, "WALLET": "mine", "WALLETS": str(tmp_path / "wallets")}
        said = await run(sys.executable, "-c", SIGN_IN, **where)
        secret = said.splitlines()[-1]
        answer = await gateway.openai.with_options(api_key=secret).chat.completions.create(**CHAT)
    assert secret.startswith("cst_")
    assert answer.choices
