"""The auditor as it runs: record log in, leaderboard, weights and published epochs out."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.errors import ConfigError
from shared.object_store import FolderStore
from shared.record_log import RecordWriter
from tests.validator.audit_rig import NETUID, epoch_traffic, subnet
from tests.validator.auditor_examples import (
    AUDITOR,
    CHEAT,
    FOLLOWER,
    HONEST,
    SECRET,
    ExampleAuditor,
    ExampleChain,
    ExampleClock,
    block_number,
)
from validator.audit_config import AuditConfig
from validator.audit_process import AuditValidator, open_database
from validator.epoch_check import Expectations, check_latest
from validator.epoch_state import EpochState
from validator.status_server import listen
from validator.surroundings import Pauses, Surroundings

PATIENCE_S = 60.0
BRISK = Pauses(0.01, 0.01, 0.01, 0.01)


class Running:
    """A running auditor, its surroundings, and a client of its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = AuditConfig(
            netuid=NETUID, state_dir=folder / "state", epoch_seconds=60.0, metagraph_seconds=0.05
        )
        self.calibration = folder / "calibration.safetensors"
        self.calibration.write_bytes(b"calibration")
        self.chain = ExampleChain(subnet(), height=1)
        self.clock = ExampleClock(block_number(1).timestamp_ms)
        self.auditor = ExampleAuditor({CHEAT.ss58_address: "fail"})
        self.stop = asyncio.Event()

    @asynccontextmanager
    async def run(self, signer: Any = AUDITOR) -> AsyncIterator[httpx.AsyncClient]:
        self.stop.clear()
        database = await asyncio.to_thread(open_database, self.config)
        around = Surroundings(signer, self.chain, self.auditor, "tiny", self.calibration, self.clock, BRISK)
        with listen("127.0.0.1", 0) as listener:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            running = asyncio.create_task(
                AuditValidator(self.config, around, database).run(self.stop, listener)
            )
            try:
                async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
                    leads = asyncio.create_task(until(lambda: self._leads(client)))
                    await asyncio.wait({running, leads}, return_when=asyncio.FIRST_COMPLETED)
                    leads.cancel()
                    yield client
            finally:
                self.stop.set()
                self.clean = await running
                database.close()

    async def _leads(self, client: httpx.AsyncClient) -> bool:
        health = await answer(client, "/health")
        return bool(health["leads"] and health["epoch"])

    def serve(self, first: int) -> None:
        writer = RecordWriter(self.config.records_folder)
        for record in epoch_traffic(first, self.clock()):
            writer.append(record)
        writer.close()

    def pass_time(self, blocks: int = 6) -> None:
        self.chain.height += blocks
        self.clock.now_ms = block_number(self.chain.height).timestamp_ms


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, at most as long as a very slow machine needs."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.01)


async def answer(client: httpx.AsyncClient, path: str) -> Any:
    return (await client.get(path)).json()


async def run_one_epoch(running: Running, client: httpx.AsyncClient, number: int) -> None:
    """Serve, let the time of the epoch pass, and wait until its weights are on chain and it is published."""
    running.serve(number * 1000)
    newest = running.clock()

    async def records_are_read() -> bool:
        return bool((await answer(client, "/health"))["last_record_at_ms"] == newest)

    await until(records_are_read)
    running.pass_time()

    async def settled() -> bool:
        health = await answer(client, "/health")
        weights = health["weights"] or {}
        return (health["last_epoch"], health["last_epoch_phase"], weights.get("state")) == (
            number,
            "published",
            "set",
        )

    await until(settled)


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


async def test_from_records_to_weights_and_a_sound_epoch(running: Running) -> None:
    async with running.run() as client:
        before = await answer(client, "/scores")
        assert before == {"epoch": None, "closed_at_ms": None, "scores": [], "weights": None}
        await run_one_epoch(running, client, 1)
        board = await answer(client, "/scores")
    assert running.clean
    assert [row["uid"] for row in board["scores"]][-1] == 3
    cheat = board["scores"][-1]
    assert (cheat["score"], cheat["weight"], cheat["audits"]["pass"]) == (0.0, 0, 0)
    assert cheat["audits"]["fail"] >= 5
    assert "the sequential test rejects this hotkey" in cheat["reasons"][0]
    assert board["scores"][0]["weight"] == 65535
    assert running.chain.on_chain[0].keys() == {1, 2}
    store = FolderStore(running.config.state_folder / "store")
    expected = Expectations(AUDITOR.ss58_address, NETUID, 60_000, running.clock())
    summary, _ = await asyncio.to_thread(check_latest, store, expected, None)
    assert {one.uid: one.weight for one in summary.weights} == running.chain.on_chain[0]


async def test_a_second_process_goes_on_where_the_first_stopped(running: Running) -> None:
    async with running.run() as client:
        await run_one_epoch(running, client, 1)
    async with running.run() as client:
        await run_one_epoch(running, client, 2)
        epochs = (await answer(client, "/epochs"))["epochs"]
        assert [one["epoch"] for one in epochs] == [3, 2, 1]
        summary = await answer(client, "/epochs/2")
    assert summary["previous_digest"] is not None
    assert sum(one["requests"] for one in summary["scores"]) == 24


async def test_with_its_state_lost_it_goes_on_after_the_store(running: Running) -> None:
    async with running.run() as client:
        await run_one_epoch(running, client, 1)
    for file in running.config.state_folder.glob("audit.sqlite*"):
        file.unlink()
    async with running.run() as client:
        health = await answer(client, "/health")
        assert (health["epoch"], health["last_epoch"]) == (2, 1)


async def test_another_auditors_store_is_refused_at_the_start(running: Running) -> None:
    async with running.run() as client:
        await run_one_epoch(running, client, 1)
    for file in running.config.state_folder.glob("audit.sqlite*"):
        file.unlink()
    with pytest.raises(ConfigError, match="name another folder or prefix"):
        async with running.run(FOLLOWER):
            pass


async def test_a_chain_that_is_down_shows_in_health_and_passes(running: Running) -> None:
    async with running.run() as client:
        running.chain.down = True

        async def degraded() -> bool:
            health = await client.get("/health")
            return health.status_code == 503 and "audits" in health.json()["troubles"]

        await until(degraded)
        running.chain.down = False
        await run_one_epoch(running, client, 1)

        async def well() -> bool:
            return (await client.get("/health")).status_code == 200

        await until(well)


async def test_a_store_that_fails_delays_publication_but_not_weights(running: Running) -> None:
    store = running.config.state_folder / "store"
    store.parent.mkdir(parents=True)
    async with running.run() as client:
        store.write_text("a file where the folder should be")
        running.serve(1000)

        async def read() -> bool:
            return (await answer(client, "/health"))["last_record_at_ms"] is not None

        await until(read)
        running.pass_time()

        async def weights_set_but_unpublished() -> bool:
            health = await answer(client, "/health")
            return bool(running.chain.on_chain) and "publication" in health["troubles"]

        await until(weights_set_but_unpublished)
        store.unlink()

        async def published() -> bool:
            return bool((await answer(client, "/health"))["last_epoch_phase"] == "published")

        await until(published)


async def test_a_defect_ends_the_process_instead_of_hanging(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.auditor.errors = [ZeroDivisionError("a defect")]
    async with running.run() as client:
        running.serve(1000)
        newest = running.clock()

        async def read() -> bool:
            return bool((await answer(client, "/health"))["last_record_at_ms"] == newest)

        await until(read)
        running.pass_time()

        async def gone() -> bool:
            try:
                await client.get("/health")
            except httpx.TransportError:
                return True
            return False

        await until(gone)
    assert not running.clean
    assert "a defect" in caplog.text
    assert "Traceback" in caplog.text


async def test_the_calibration_file_and_sealed_epochs_are_served(running: Running) -> None:
    async with running.run() as client:
        assert (await client.get("/calibration")).content == b"calibration"
        missing = await client.get("/epochs/9")
        assert missing.status_code == 404
        assert "/epochs lists those that are" in missing.json()["detail"]
        assert (await client.get("/epochs/many")).status_code == 422
        await run_one_epoch(running, client, 1)
        sealed = await client.get("/epochs/1")
    store = FolderStore(running.config.state_folder / "store")
    assert sealed.content == store.get("epochs/1.json")


async def test_a_miner_reads_how_each_audit_ended_and_what_it_did(running: Running) -> None:
    async with running.run() as client:
        stranger = await answer(client, f"/miners/{FOLLOWER.ss58_address}")
        assert (stranger["rejected"], stranger["standing"]["audits"]) == (False, 0)
        await run_one_epoch(running, client, 1)
        cheat = await answer(client, f"/miners/{CHEAT.ss58_address}")
        honest = await answer(client, f"/miners/{HONEST.ss58_address}")
    assert (cheat["rejected"], honest["rejected"]) == (True, False)
    assert cheat["audit_rate"] == 1.0
    (first, current) = cheat["epochs"]
    assert (first["epoch"], first["phase"], current["phase"]) == (1, "published", "open")
    assert {one["outcome"] for one in first["audits"]} == {"fail"}
    assert "the test rejects the miner" in first["audits"][-1]["explanation"]
    assert honest["audit_rate"] < 1.0


async def test_no_text_remains_in_the_state_after_publication(running: Running) -> None:
    async with running.run() as client:
        await run_one_epoch(running, client, 1)
    database = await asyncio.to_thread(open_database, running.config)
    assert EpochState(database).oldest_unpublished() is None
    database.close()
    assert SECRET.encode() not in (running.config.state_folder / "audit.sqlite").read_bytes()


async def test_an_auditor_that_is_alone_leads_and_makes_every_audit(running: Running) -> None:
    async with running.run() as client:
        await run_one_epoch(running, client, 1)
        told = await answer(client, "/auditors")
        health = await answer(client, "/health")
    assert told["leader"].partition(" ")[0] == told["auditor"] == health["auditor"] == running.config.name
    assert health["leads"]
    first = told["epochs"][0]
    assert first["epoch"] == 1
    assert first["audits"].keys() == {running.config.name}


def test_a_taken_port_is_refused_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"can't listen on port {port}"):
            listen("127.0.0.1", port)
