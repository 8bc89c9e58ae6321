"""Several worker processes behind one port: all serve, all record, and the death of one is repaired."""

import asyncio
import os
import re
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import openai

from gateway.http_server import listen
from shared.record_folders import worker_folders
from shared.record_log import Cursor, RecordReader
from tests.gateway.running_gateway import CHAT, HANG_S, keypair
from tests.gateway.scripted_miner import ScriptedMiner
from tests.gateway.test_process import callable_miners, client, complaint, make_wallet, start
from validator.database import Database, sqlite_url
from validator.epoch_state import EpochState
from validator.record_follower import RecordFollower
from validator.request_state import RequestState

_STARTED = re.compile(r"worker (\d+) is process (\d+)")


class Workers:
    """A gateway of several workers, and what its parent says."""

    def __init__(self, process: Process, tmp_path: Path) -> None:
        self.process, self.records = process, tmp_path / "state" / "records"
        self.lines: list[str] = []

    @property
    def pids(self) -> dict[int, int]:
        """Process ids by worker, of the last that was started in each place."""
        found = (_STARTED.search(line) for line in self.lines)
        return {int(match[1]): int(match[2]) for match in found if match}

    async def until_said(self, text: str, times: int = 1) -> str:
        """The line with `text`, as soon as it has been said so often."""
        assert self.process.stderr is not None
        async with asyncio.timeout(HANG_S):
            while len(said := [line for line in self.lines if text in line]) < times:
                line = (await self.process.stderr.readline()).decode()
                assert line, "\n".join(self.lines)
                self.lines.append(line)
        return said[-1]

    async def recorded_by(self, workers: int, url: str) -> None:
        """Send requests, each on its own connection, until so many workers have recorded one."""
        async with asyncio.timeout(HANG_S):
            while sum(bool(read(folder)) for folder in worker_folders(self.records)) < workers:
                await client(url).chat.completions.create(**CHAT)


def read(folder: Path) -> list[str]:
    return [record.request_id for record in RecordReader(folder).read(Cursor(), 10_000)[0]]


@asynccontextmanager
async def two_workers(tmp_path: Path) -> AsyncIterator[tuple[Workers, str]]:
    signer = make_wallet(tmp_path / "wallets", "validator").hotkey
    async with ScriptedMiner(keypair("miner0"), signer.ss58_address).serving() as miner:
        flags = ("--port", "0", "--workers", "2", "--miners", f"{miner.address}={miner.hotkey}")
        workers = Workers(await start(tmp_path, *flags), tmp_path)
        try:
            port = (await workers.until_said("listens on", times=2)).split()[-1]
            await workers.until_said("can be called", times=2)
            yield workers, f"http://127.0.0.1:{port}"
        finally:
            with suppress(ProcessLookupError):
                workers.process.kill()
            await workers.process.communicate()


async def test_both_workers_serve_and_the_auditor_reads_what_both_recorded(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (workers, url):
        await workers.recorded_by(2, url)
        workers.process.send_signal(signal.SIGTERM)
        await workers.until_said("all workers have ended")
        assert await workers.process.wait() == 0
    served = [request_id for folder in worker_folders(workers.records) for request_id in read(folder)]
    assert read(workers.records) == [], "the folder itself is a single process's log"
    database = Database(sqlite_url(tmp_path / "audit.sqlite"))
    EpochState(database).open_next(0, 1)
    state = RequestState(database)
    follower = RecordFollower(RecordReader(workers.records), "log", state)
    assert (follower.follow(), follower.follow()) == (len(served), 0)
    assert {fact.request_id for fact in state.facts(1)} == set(served)


async def test_a_killed_worker_is_started_again_and_loses_no_record(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (workers, url):
        await workers.recorded_by(2, url)
        before = {folder.name: read(folder) for folder in worker_folders(workers.records)}
        killed = workers.pids[1]
        os.kill(killed, signal.SIGKILL)
        await workers.until_said("worker 1 ended with status -9")
        await client(url).chat.completions.create(**CHAT)
        await workers.until_said("listens on", times=3)
        assert workers.pids[1] != killed
        await callable_miners(url)
        first = worker_folders(workers.records)[0]
        async with asyncio.timeout(HANG_S):
            while len(read(first)) == len(before[first.name]):
                with suppress(openai.InternalServerError):
                    await client(url).chat.completions.create(**CHAT)
        for folder in worker_folders(workers.records):
            assert read(folder)[: len(before[folder.name])] == before[folder.name]


async def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (workers, _):
        workers.process.kill()
        async with asyncio.timeout(HANG_S):
            while any(Path(f"/proc/{pid}").exists() for pid in workers.pids.values()):
                await asyncio.sleep(0.01)


async def test_clients_of_both_workers_have_one_name(tmp_path: Path) -> None:
    async with two_workers(tmp_path) as (workers, url):
        await workers.recorded_by(2, url)
        logs = [RecordReader(folder) for folder in worker_folders(workers.records)]
        assert len({record.client for one in logs for record in one.read(Cursor(), 1000)[0]}) == 1


async def test_a_taken_port_is_one_plain_sentence(tmp_path: Path) -> None:
    make_wallet(tmp_path / "wallets", "validator")
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        flags = ("--workers", "2", "--discover", "--network", "local", "--port", port)
        assert f"can't listen on port {port}" in await complaint(tmp_path, *flags)


async def test_a_wallet_that_is_missing_ends_all_workers(tmp_path: Path) -> None:
    process = await start(tmp_path, "--workers", "2", "--port", "0", "--discover", "--network", "local")
    async with asyncio.timeout(HANG_S):
        _, errors = await process.communicate()
    assert process.returncode == 2
    assert errors.decode().count("there is no hotkey at") == 1
