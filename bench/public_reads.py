"""What a read of the public dataset costs the gateway's core: CPU time of the whole application, no network.

    python -m bench.public_reads [--requests 2000]

A gateway with three published epochs is asked through its ASGI application, observation included; its HTTP
server comes on top, as with every request.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.plain_table import plain
from tests.gateway.published_gateway import audited_gateway, publish_epochs
from tests.gateway.running_gateway import RunningGateway, keypair


async def measure(requests: int) -> list[list[str]]:
    """Rows of question, status and microseconds of CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        async with audited_gateway(Path(folder)) as (gateway, rig):
            await publish_epochs(gateway, rig, 3)
            table = f"/v1/dataset/files/{rig.key('requests', 3)}"
            miner = f"/v1/miners/{keypair('miner0').ss58_address}"
            rows = []
            for path in ("/v1/scoreboard", miner, "/v1/epochs", table, "/v1/epochs/99"):
                rows.append(await _row(gateway, path, requests, patient=True))
            rows.append(await _row(gateway, "/v1/scoreboard", requests, patient=False))
            return rows


async def _row(gateway: RunningGateway, path: str, requests: int, patient: bool) -> list[str]:
    """Ask again and again; a patient reader stays below its limits."""
    status = 0
    await _ask(gateway, path)
    if not patient:
        while status < 400:
            status = await _ask(gateway, path)
    began_s = time.process_time()
    for _ in range(requests):
        gateway.clock.advance(0.1 if patient else 0)
        status = await _ask(gateway, path)
    spent_us = (time.process_time() - began_s) / requests * 1e6
    return [path[:60], str(status), f"{spent_us:.0f}"]


async def _ask(gateway: RunningGateway, path: str) -> int:
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"bench")], "client": ("192.0.2.1", 5), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    statuses: list[int] = []

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await gateway.parts.app(scope, receive, send)
    return statuses[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.public_reads", description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    args = parser.parse_args()
    logging.getLogger().setLevel(logging.WARNING)
    print(plain(["question", "status", "µs of CPU"], asyncio.run(measure(args.requests))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
