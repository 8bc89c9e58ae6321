"""A gateway that follows an auditor with the same hotkey, in the test's hands."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.gateway.publishing_rig import PublishingRig
from tests.gateway.running_gateway import HANG_S, RunningGateway, keypair, running_gateway
from tests.validator.auditor_examples import many_records

START_MS = 1_700_001_000_000


@asynccontextmanager
async def audited_gateway(
    tmp_path: Path, *behaviours: Any, **settings: Any
) -> AsyncIterator[tuple[RunningGateway, PublishingRig]]:
    """One gateway and one auditor; the miners are on the subnet."""
    miners = [keypair(f"miner{number}") for number in range(max(1, len(behaviours)))]
    rig = PublishingRig(tmp_path, miners, START_MS, keypair("gateway"))
    async with running_gateway(tmp_path, *behaviours, **({"store": str(rig.location)} | settings)) as gateway:
        yield gateway, rig
    rig.close()


async def follow(gateway: RunningGateway) -> None:
    """Have the gateway read what is published."""
    assert gateway.parts.provenance.follower is not None
    await gateway.parts.provenance.follower.look()


async def publish_epochs(gateway: RunningGateway, rig: PublishingRig, count: int, each: int = 12) -> None:
    """Publish so many epochs of a miner's answers, and have the gateway read them."""
    for _ in range(count):
        current = rig.audit.epochs.in_phase("open")
        assert current is not None
        first = 1000 * current.number
        records = many_records(keypair("miner0"), 1, range(first, first + each), finished_at_ms=rig.now_ms)
        await rig.publish(records)
    await follow(gateway)
    gateway.clock.advance(10)


async def get(gateway: RunningGateway, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """An answer, redirects not followed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(timeout=HANG_S) as client:
        return await client.request(method, gateway.url + path, headers=named)
