"""GET /ready: whether requests should be sent here now, and why not."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp

from gateway.discovery import MinerSource
from gateway.key_store import KEYS_FILE
from gateway.miners import MinerListing
from shared.errors import ChainUnavailable
from shared.records import RequestRecord
from tests.gateway.running_gateway import COMPLETION, RunningGateway, running_gateway


async def ask(gateway: RunningGateway, path: str = "/ready") -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(gateway.url + path) as answer:
        return answer.status, await answer.json()


async def test_a_gateway_that_can_serve_is_ready(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        assert await ask(gateway) == (200, {"ready": True, "reasons": []})
        _, health = await ask(gateway, "/health")
    assert (health["status"], health["reasons"]) == ("ok", [])


async def test_without_a_callable_miner_it_is_not(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        gateway.parts.table.update([MinerListing(0, gateway.miners[0].hotkey, None)])
        status, answer = await ask(gateway)
        health_status, health = await ask(gateway, "/health")
    assert (status, answer["ready"]) == (503, False)
    assert answer["reasons"] == ["none of the 1 miners on the list can be called; /health says why not"]
    assert health_status == 200, "the process lives"
    assert (health["status"], health["reasons"]) == ("degraded", answer["reasons"])


class NoChain:
    """A list of miners that can't be had."""

    async def listings(self) -> list[MinerListing]:
        raise ChainUnavailable("the chain is away")


async def test_without_a_list_of_miners_it_says_why(tmp_path: Path) -> None:
    source: MinerSource = NoChain()
    async with running_gateway(tmp_path, source=source) as gateway:
        status, answer = await ask(gateway)
    assert status == 503
    assert answer["reasons"] == ["the list of miners has not been read: the chain is away"]


class FullDisk:
    """A record log that takes nothing until there is room."""

    def __init__(self) -> None:
        self.full = True

    def append(self, record: RequestRecord) -> None:
        if self.full:
            raise OSError("no space left")

    def check_room(self) -> None:
        if self.full:
            raise OSError("no space left")

    def sync(self) -> None:
        """Nothing was written."""

    def close(self) -> None:
        """Nothing is open."""


async def test_with_a_full_disk_it_is_not_and_with_room_again_it_is(tmp_path: Path) -> None:
    disk = FullDisk()
    async with running_gateway(tmp_path, records=disk) as gateway, aiohttp.ClientSession() as session:
        async with session.post(f"{gateway.url}/v1/completions", json=COMPLETION) as refused:
            assert refused.status == 503
        status, answer = await ask(gateway)
        disk.full = False
        await gateway.parts.recorder.sync()
        later, _ = await ask(gateway)
    assert (status, later) == (503, 200)
    assert "no space left" in answer["reasons"][0]


def rename_keys(tmp_path: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(tmp_path / "state" / KEYS_FILE)) as database:
        database.execute(f"ALTER TABLE {old} RENAME TO {new}")
        database.commit()


async def test_with_keys_that_can_not_be_read_it_is_not_and_with_them_again_it_is(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        rename_keys(tmp_path, "api_keys", "away")
        await gateway.parts.admission.refresh()
        status, answer = await ask(gateway)
        rename_keys(tmp_path, "away", "api_keys")
        await gateway.parts.admission.refresh()
        later, _ = await ask(gateway)
    assert (status, later) == (503, 200)
    assert answer["reasons"] == ["API keys can't be read: OperationalError"]
    assert gateway.parts.admission.key_errors == 1


async def test_readiness_is_only_read(tmp_path: Path) -> None:
    async with (
        running_gateway(tmp_path) as gateway,
        aiohttp.ClientSession() as session,
        session.post(f"{gateway.url}/ready") as answer,
    ):
        assert (answer.status, answer.headers["allow"]) == (405, "GET")


async def test_the_operator_is_told_of_troubles_by_subject_and_not_of_draining(tmp_path: Path) -> None:
    async with running_gateway(tmp_path) as gateway:
        readiness = gateway.parts.readiness
        assert readiness.troubles() == {}
        gateway.parts.drain.draining = True
        assert readiness.troubles() == {}
        gateway.parts.table.update([MinerListing(0, gateway.miners[0].hotkey, None)])
        assert set(readiness.troubles()) == {"miners"}
    source: MinerSource = NoChain()
    async with running_gateway(tmp_path / "other", source=source) as gateway:
        assert gateway.parts.readiness.troubles()["metagraph"] == "the chain is away"
