"""docs/API.md can't rot: each of its commands is run, and together they reach everything that is served."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.openapi import openapi_document
from localnet.config import PROJECT_ROOT
from tests.gateway.published_gateway import audited_gateway, publish_epochs
from tests.gateway.running_gateway import RunningGateway
from tests.gateway.scripted_miner import MODEL
from tests.models import demo_model

PAGE = (PROJECT_ROOT / "docs" / "API.md").read_text()
PAGES_MODEL = "Qwen/Qwen2.5-7B-Instruct"
CALIBRATION = PROJECT_ROOT / "localnet" / "calibration" / "SmolLM2-135M-Instruct.calibration"


def commands(kind: str) -> list[str]:
    blocks = re.finditer(r"^```sh(.*)\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
    return [block.group(2) for block in blocks if block.group(1).strip() == kind]


async def run(gateway: RunningGateway, command: str) -> tuple[int, str]:
    """Exit status and output, in a shell that has the page's setting."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-o", "pipefail", "-c", command.replace(PAGES_MODEL, MODEL)),
        env={"PATH": os.environ["PATH"], "GATEWAY": gateway.url, "KEY": "none"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


@asynccontextmanager
async def gateway_of_the_page(tmp_path: Path) -> AsyncIterator[RunningGateway]:
    settings = {"model": str(demo_model()), "served_model_name": MODEL, "calibration": str(CALIBRATION)}
    async with audited_gateway(tmp_path, **settings) as (gateway, rig):
        await publish_epochs(gateway, rig, 1)
        yield gateway


@pytest.mark.parametrize("command", commands(""))
async def test_every_command_of_the_page_works(tmp_path: Path, command: str) -> None:
    async with gateway_of_the_page(tmp_path) as gateway:
        await gateway.parts.tokens.load()
        status, output = await run(gateway, command)
        assert status == 0
        if "curl -sN" in command:
            last = output.rstrip().split("\n\n")[-1]
            assert last == "data: [DONE]" or re.match("event: (message_stop|response.completed)\n", last)
        elif "/dev/null" not in command:
            assert json.loads(output).get("error") is None


@pytest.mark.parametrize("command", commands("error"))
async def test_commands_that_show_an_error_show_it(tmp_path: Path, command: str) -> None:
    async with gateway_of_the_page(tmp_path) as gateway:
        await gateway.parts.tokens.load()
        _, output = await run(gateway, command)
        assert json.loads(output)["error"]["code"] in ("context_length_exceeded", "unsupported_model")


def test_the_page_has_a_command_for_every_address_that_is_served() -> None:
    shown = "\n".join([*commands(""), *commands("error")]).replace(PAGES_MODEL, "{model}")
    shown = shown.replace("/v1/receipts/$ID", "/v1/receipts/{request_id}")
    shown = re.sub(r"/v1/calibration/\$\(.*\)", "/v1/calibration/{sha256}", shown)
    shown = shown.replace("/v1/dataset/files/epochs/latest.json", "/v1/dataset/files/{key}")
    shown = shown.replace("/v1/dataset/files/$KEY", "/v1/dataset/files/{key}")
    shown = shown.replace("/v1/epochs/1", "/v1/epochs/{number}").replace("$HOTKEY", "{hotkey}")
    reached = set(re.findall(r"\$GATEWAY(/[a-z0-9_/.{}]*)", shown))
    assert reached == set(openapi_document(MODEL)["paths"])


def test_every_code_of_an_error_is_on_the_page() -> None:
    names = ("errors.py", "client_refusals.py", "dataset_refusals.py")
    sources = [(PROJECT_ROOT / "gateway" / name).read_text() for name in names]
    sources.append((PROJECT_ROOT / "gateway" / "http_server.py").read_text())
    codes = {code for text in sources for code in re.findall(r'"([a-z]+(?:_[a-z]+)+)"', text)}
    told = {code for code in codes if f"`{code}`" in PAGE}
    internal = {"server_error", "invalid_request_error", "permission_error", "retry_after"}
    internal |= {"http_version", "query_string", "raw_path"}
    kept = {"no_calibration", "calibration_not_found", "named_miner_unavailable", "invalid_http"}
    assert codes - told - internal - kept == set()
