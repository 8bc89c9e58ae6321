"""What docs/RECEIPTS.md tells people to run does what it says."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from tests.gateway.running_gateway import CHAT, HANG_S, running_gateway
from tests.gateway.test_process import REPOSITORY, make_wallet
from tests.validator.auditor_examples import ExampleChain, neuron

PAGE = (REPOSITORY / "docs" / "RECEIPTS.md").read_text()
CHECK, SIGN_IN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
WHOLE, STREAM, RECEIPT, _ = re.findall(r"```\n((?:curl|python) .*?)```", PAGE, re.DOTALL)


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
