"""The real miner and the real chain node as processes, and a signing client for them."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson

from localnet.chain_node import dev_client
from localnet.config import PROJECT_ROOT
from localnet.wallets import Party
from shared.canonical import canonical_json
from shared.challenges import (
    CHALLENGE_DOMAIN,
    CHALLENGE_PATH,
    OpenAnswer,
    OpenRequest,
    ReplayAnswer,
    ReplayRequest,
)
from shared.peer_auth import sign_request
from shared.signing import Signer, check_signature
from shared.vllm_cpu import cpu_environment

NETUID = 97
READY_DEADLINE_S = 900.0
"""An idle machine with two cores takes 40 s; a busy one many times that."""
STOP_DEADLINE_S = 60.0


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop(process: subprocess.Popen[Any]) -> int:
    """SIGTERM, and its exit status."""
    process.terminate()
    try:
        return process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


@contextmanager
def running_chain(folder: Path) -> Iterator[str]:
    """A chain node that makes a block a second; its url."""
    command = [sys.executable, "-m", "localnet.chain_node", "--port", "0", "--block-seconds", "1"]
    process = subprocess.Popen(
        [*command, "--state-dir", str(folder)], cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        announced = next(line for line in process.stdout if line.startswith("listening on "))
        yield announced.removeprefix("listening on ").strip()
    finally:
        stop(process)


def register(url: str, party: Party, permit: bool = False) -> int:
    """Register a party on the subnet; its uid."""
    stake = 10**12 if permit else 0
    return asyncio.run(
        dev_client.register_neuron(
            url, NETUID, party.hotkey, party.coldkey, stake_rao=stake, validator_permit=permit
        )
    )


def start_miner(
    flags: Sequence[str], log_file: Path, environment: Mapping[str, str]
) -> subprocess.Popen[Any]:
    """`python miners/vllm_miner.py …`, from a folder that is not the project's."""
    with log_file.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(PROJECT_ROOT / "miners" / "vllm_miner.py"), *flags],
            cwd=log_file.parent,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment},
        )


def miner_environment() -> dict[str, str]:
    """What the caller sets for vLLM on a CPU."""
    return cpu_environment(sorted(os.sched_getaffinity(0)))


@dataclass
class RunningMiner:
    """A miner that serves, and who may call it.

    Attributes:
        caller: a hotkey with a validator permit.
    """

    process: subprocess.Popen[Any]
    log_file: Path
    port: int
    hotkey: str
    caller: Signer
    http: httpx.Client

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_until_ready(self) -> None:
        """Until `/health` answers; fails with the end of the log when the process ends first."""
        end = time.monotonic() + READY_DEADLINE_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log[-6000:]
            try:
                if self.http.get("/health").status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.5)
        raise AssertionError(f"the miner was not ready in time:\n{self.log[-6000:]}")

    def headers(self, method: str, path: str, body: bytes, signer: Signer | None = None) -> dict[str, str]:
        signed = sign_request(signer or self.caller, method, path, body, self.hotkey)
        return {**signed, "content-type": "application/json"}

    def post(self, path: str, body: bytes, signer: Signer | None = None) -> httpx.Response:
        return self.http.post(path, content=body, headers=self.headers("POST", path, body, signer))

    def ask(self, path: str, **fields: Any) -> tuple[bytes, dict[str, Any]]:
        """(body sent, answer)."""
        body = orjson.dumps(fields)
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        return body, response.json()

    def stream(self, path: str, **fields: Any) -> tuple[bytes, list[dict[str, Any]]]:
        """(body sent, events before `[DONE]`)."""
        body = orjson.dumps({**fields, "stream": True})
        response = self.post(path, body)
        assert response.status_code == 200, response.text
        lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
        assert lines[-1] == "[DONE]"
        return body, [orjson.loads(line) for line in lines[:-1]]

    def open(self, request: OpenRequest) -> OpenAnswer:
        answer = OpenAnswer.model_validate_json(self._challenge(request))
        check_signature(CHALLENGE_DOMAIN, answer, str(answer.signature), self.hotkey)
        return answer

    def replay(self, request: ReplayRequest) -> ReplayAnswer:
        answer = ReplayAnswer.model_validate_json(self._challenge(request))
        check_signature(CHALLENGE_DOMAIN, answer, str(answer.signature), self.hotkey)
        return answer

    def _challenge(self, request: OpenRequest | ReplayRequest) -> bytes:
        response = self.post(CHALLENGE_PATH, canonical_json(request))
        assert response.status_code == 200, response.text
        return response.content
