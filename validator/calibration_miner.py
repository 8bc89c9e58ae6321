"""A miner for a measurement: the real one, registered on a development chain of its own.

Both run as processes, exactly as an operator would start them.
"""

import asyncio
import json
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from bittensor import Wallet
from websockets.asyncio.client import connect

from shared.errors import ModelError
from shared.signing import Signer
from shared.vllm_cpu import cpu_environment
from validator.calibration_conditions import Condition

PROJECT_ROOT = Path(__file__).resolve().parent.parent
NETUID = 97
START_DEADLINE_S = 900.0
"""Longest start of an engine: loading 15 GB of weights from a slow disk, and its self-test."""

STOP_GRACE_S = 30.0
POLL_S = 1.0
HOST = "127.0.0.1"
_LISTENING = "listening on "


@dataclass(frozen=True)
class StartedMiner:
    """A miner that answers: its URL, its hotkey, and the hotkey that it serves."""

    url: str
    hotkey: str
    caller: Signer


MINER_PROGRAM = (sys.executable, str(PROJECT_ROOT / "miners" / "vllm_miner.py"))


@asynccontextmanager
async def running_miner(
    model: str,
    calibration: Path,
    condition: Condition,
    log_file: Path,
    program: Sequence[str] = MINER_PROGRAM,
) -> AsyncIterator[StartedMiner]:
    """A miner that serves `model` with the statistics in `calibration`, stopped at the end.

    It serves on the GPU where there is one. `program` is the start of its command line.

    Raises:
        ModelError: it did not start; the message names its log.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="calibrate-")))
        wallet, caller = _wallet("miner", folder), _wallet("validator", folder)
        chain_url = await stack.enter_async_context(_chain(folder))
        await _register(chain_url, wallet, caller)
        port = _free_port()
        command = [*program, *_miner_flags(model, calibration, port, chain_url, folder), *condition.flags]
        process = await stack.enter_async_context(_process(command, _environment(condition), log_file))
        url = f"http://{HOST}:{port}"
        await _until_healthy(url, process, log_file)
        yield StartedMiner(url, wallet.hotkey.ss58_address, caller.hotkey)


def _wallet(name: str, folder: Path) -> Any:
    wallet = Wallet(name, "default", path=str(folder / "wallets"))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(use_password=False, suppress=True)
    return wallet


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _miner_flags(model: str, calibration: Path, port: int, chain_url: str, folder: Path) -> list[str]:
    return [
        *("--model", model, "--calibration", str(calibration), "--host", HOST, "--port", str(port)),
        *("--axon-ip", HOST, "--netuid", str(NETUID), "--network", chain_url),
        *("--wallet", "miner", "--hotkey", "default", "--wallet-path", str(folder / "wallets")),
        *("--state-dir", str(folder / "state")),
    ]


def _environment(condition: Condition) -> Mapping[str, str]:
    if torch.cuda.is_available():
        return os.environ
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return {**os.environ, **cpu_environment(cores, condition.devices)}


@asynccontextmanager
async def _process(
    command: Sequence[str], environment: Mapping[str, str], log_file: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=log, stderr=log, env=dict(environment), cwd=PROJECT_ROOT
        )
    try:
        yield process
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), STOP_GRACE_S)
    if process.returncode is None:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _chain(folder: Path) -> AsyncIterator[str]:
    """A development chain node; its URL."""
    command = [
        *(sys.executable, "-m", "localnet.chain_node", "--port", "0", "--block-seconds", "1"),
        *("--netuid", str(NETUID), "--state-dir", str(folder / "chain")),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, cwd=PROJECT_ROOT
    )
    try:
        yield await asyncio.wait_for(_announced_url(process), START_DEADLINE_S)
    finally:
        await _stop(process)


async def _announced_url(process: asyncio.subprocess.Process) -> str:
    """The URL that the node prints once it listens."""
    assert process.stdout is not None
    async for line in process.stdout:
        words = line.decode().strip()
        if words.startswith(_LISTENING):
            return words.removeprefix(_LISTENING)
    raise ModelError("the development chain ended before it listened; run: python -m localnet.chain_node")


async def _register(chain_url: str, miner: Any, caller: Any) -> None:
    """Register both hotkeys, the caller's with a validator permit, through the node's development calls."""
    async with connect(chain_url, compression=None) as connection:
        for wallet, permit in ((miner, False), (caller, True)):
            hotkey, coldkey = wallet.hotkey.ss58_address, wallet.coldkeypub.ss58_address
            await _call(connection, "dev_fund", [coldkey, 10**12])
            await _call(connection, "dev_fund", [hotkey, 10**12])
            await _call(connection, "dev_registerNeuron", [NETUID, hotkey, coldkey, 0, permit])


async def _call(connection: Any, method: str, params: list[Any]) -> None:
    await connection.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
    response = json.loads(await connection.recv())
    if "error" in response:
        raise ModelError(f"the development chain refused {method}: {response['error']['message']}")


async def _until_healthy(url: str, process: asyncio.subprocess.Process, log_file: Path) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(START_DEADLINE_S):
        while True:
            if process.returncode is not None:
                raise ModelError(f"the miner ended with status {process.returncode}; its log is {log_file}")
            with suppress(httpx.HTTPError):
                response = await http.get(url + "/health")
                if response.status_code == httpx.codes.OK:
                    return
            await asyncio.sleep(POLL_S)
