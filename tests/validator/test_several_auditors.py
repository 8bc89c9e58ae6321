"""Two auditors as processes on one database: one is killed or stopped at bad moments, the other goes on."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest

from localnet.postgresql import NewDatabases, PostgresqlServer
from shared.errors import ObjectMissing
from shared.object_store import FolderStore
from shared.record_log import RecordWriter
from tests.validator.audit_rig import NETUID, epoch_traffic
from tests.validator.auditor_examples import AUDITOR, block_number
from tests.validator.folder_chain import FolderChain
from validator.database import Database
from validator.epoch_check import Expectations, check_latest
from validator.epoch_reading import read_table
from validator.epoch_state import EpochState
from validator.epoch_summary import LATEST_KEY, EpochSummary, LatestEpoch, parse_message, summary_key
from validator.leadership import LEADER
from validator.leases import LeaseBook
from validator.request_state import RequestState

SCRIPT = Path(__file__).with_name("one_of_several.py")
PATIENCE_S = 120.0
BLOCKS_AN_EPOCH = 7


def until(condition: Callable[[], bool], what: str) -> None:
    """Ask again and again, at most as long as a very slow machine needs."""
    for _ in range(int(PATIENCE_S / 0.05)):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen")


class Several:
    """Auditors on one database, with their chain, their store and a gateway's record log."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.chain, self.store = FolderChain(folder / "chain"), FolderStore(folder / "store")
        self.chain.begin()
        (folder / "calibration").write_bytes(b"calibration")
        self.hold = folder / "hold"
        self.database = Database(url)
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._ports: dict[str, int] = {}

    def start(self, name: str, *trap: str) -> None:
        log = (self.folder / f"{name}.log").open("w")
        command = [sys.executable, str(SCRIPT), str(self.folder), name, self.url, *trap]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        log.close()
        assert process.stdout is not None
        self.running[name] = process
        self._ports[name] = int(process.stdout.readline())

    def leader(self) -> str:
        return (LeaseBook(self.database).holder(LEADER) or "").partition(" ")[0]

    def is_stopped(self, name: str) -> bool:
        """Whether a process has been sent SIGSTOP."""
        state = Path(f"/proc/{self.running[name].pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state == "T"

    def leads(self, name: str) -> bool:
        """Whether a process says of itself that it leads."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self._ports[name]}/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return bool(answer.json().get("leads", False))

    def serve(self, first: int) -> None:
        writer = RecordWriter(self.folder / "records")
        for record in epoch_traffic(first, block_number(self.chain.height_now()).timestamp_ms):
            writer.append(record)
        writer.close()

    def audited(self, name: str) -> list[str]:
        file = self.folder / f"{name}.audited"
        return file.read_text().splitlines() if file.exists() else []

    def open_epoch(self) -> int:
        found = EpochState(self.database).in_phase("open")
        return found.number if found else 0

    def published(self) -> int:
        try:
            return parse_message(LatestEpoch, self.store.get(LATEST_KEY), LATEST_KEY).epoch
        except ObjectMissing:
            return 0

    def run_epoch(self, number: int) -> None:
        """Serve in an epoch, and let it end; whoever leads publishes it and sets its weights."""
        self.begin_epoch(number)
        self.end_epoch(number)

    def begin_epoch(self, number: int) -> None:
        until(lambda: self.open_epoch() == number, f"the opening of epoch {number}")
        self.serve(number * 1000)
        self.chain.grow(1)
        requests = RequestState(self.database)
        until(lambda: len(requests.facts(number)) == 24, f"the reading of epoch {number}'s records")

    def end_epoch(self, number: int) -> None:
        self.chain.grow(BLOCKS_AN_EPOCH)
        until(lambda: self.published() >= number, f"the publication of epoch {number}")
        until(lambda: len(self.chain.settings()) >= number, f"the weights of epoch {number}")

    def stop(self) -> None:
        for process in self.running.values():
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self.database.close()

    def check(self, epochs: int) -> None:
        """What must hold whatever happened: audits count once, one summary an epoch, weights set once."""
        for number in range(1, epochs + 1):
            data = self.store.get(summary_key(number))
            summary = parse_message(EpochSummary, data, summary_key(number))
            requests = [one.request_id for one in read_table(self.store, summary, "requests")]
            assert len(requests) == len(set(requests)) == 24, "no record is lost, none doubled"
            audited = [one.request_id for one in read_table(self.store, summary, "verdicts")]
            assert len(audited) == len(set(audited)) > 0
            assert summary.audits_outstanding == 0
        now_ms = block_number(self.chain.height_now()).timestamp_ms
        check_latest(self.store, Expectations(AUDITOR.ss58_address, NETUID, 10**9, now_ms), None)
        assert not self.store.keys(f"epochs/{epochs + 1}")
        assert len(self.chain.settings()) == epochs


@pytest.fixture
def several(tmp_path: Path, postgresql: NewDatabases) -> Iterator[Several]:
    made = Several(tmp_path, postgresql.url())
    yield made
    made.stop()


def test_two_auditors_share_the_work_and_one_of_them_leads(several: Several) -> None:
    several.start("left")
    several.start("right")
    several.run_epoch(1)
    several.run_epoch(2)
    audited = [several.audited(name) for name in ("left", "right")]
    assert all(audited), "both audit"
    assert len(set(audited[0] + audited[1])) == len(audited[0] + audited[1]), "nothing is audited twice"
    assert [several.leads(name) for name in ("left", "right")].count(True) == 1
    several.check(2)


@pytest.mark.parametrize("killed", ["leader", "other"])
def test_kill_9_in_the_middle_of_audits(several: Several, killed: str) -> None:
    several.hold.touch()
    several.start("left")
    until(lambda: several.leader() == "left", "the start")
    several.start("right")
    several.begin_epoch(1)
    until(lambda: bool(several.audited("left") and several.audited("right")), "the first audits")
    several.running["left" if killed == "leader" else "right"].kill()
    several.hold.unlink()
    several.end_epoch(1)
    several.run_epoch(2)
    several.check(2)


def test_an_auditor_that_was_stopped_in_the_middle_of_audits_counts_for_nothing_when_it_wakes(
    several: Several,
) -> None:
    several.hold.touch()
    several.start("left")
    several.start("right")
    several.begin_epoch(1)
    until(lambda: bool(several.audited("left") and several.audited("right")), "the first audits")
    stopped = next(name for name in ("left", "right") if name != several.leader())
    several.running[stopped].send_signal(signal.SIGSTOP)
    held = several.audited(stopped)
    several.hold.unlink()
    several.end_epoch(1)
    several.running[stopped].send_signal(signal.SIGCONT)
    several.run_epoch(2)
    other = "left" if stopped == "right" else "right"
    assert set(held) <= set(several.audited(other)), "the other made its audits"
    several.check(2)


TRAPS = [
    "EpochState.open_next",
    "EpochState.save_scored",
    # In the middle of the transaction that seals an epoch: everything that it holds is locked.
    "epoch_state.queue_weights",
    "EpochState.mark_published",
    "WeightQueue.mark",
]


@pytest.mark.parametrize("trap", TRAPS[1:])
def test_a_leader_that_is_killed_in_the_middle_of_its_work_is_replaced(several: Several, trap: str) -> None:
    several.start("left", trap, "SIGKILL")
    until(lambda: several.leader() == "left", "the start")
    several.start("right")
    several.run_epoch(1)
    assert several.running["left"].wait(PATIENCE_S) == -signal.SIGKILL
    several.run_epoch(2)
    assert several.leader() == "right"
    several.check(2)


@pytest.mark.parametrize("trap", TRAPS)
def test_a_leader_that_was_stopped_for_longer_than_its_lease_writes_nothing_when_it_wakes(
    several: Several, trap: str
) -> None:
    several.start("left", trap, "SIGSTOP")
    until(lambda: several.leader() == "left" or several.is_stopped("left"), "the start")
    several.start("right")
    several.run_epoch(1)
    until(lambda: several.is_stopped("left") and several.leader() == "right", "the change of hands")
    several.running["left"].send_signal(signal.SIGCONT)
    until(lambda: not several.leads("left") and several.leads("right"), "the old leader's notice")
    several.hold.touch()
    audited = len(several.audited("left"))
    several.begin_epoch(2)
    until(lambda: len(several.audited("left")) > audited, "its going on as an auditor")
    several.hold.unlink()
    several.end_epoch(2)
    assert several.running["left"].poll() is None
    several.check(2)


def test_a_leader_that_ends_hands_over_at_once(several: Several) -> None:
    several.start("left")
    until(lambda: several.leader() == "left", "the start")
    several.start("right")
    several.begin_epoch(1)
    several.running["left"].terminate()
    assert several.running["left"].wait(PATIENCE_S) == 0
    until(lambda: several.leader() == "right", "the change of hands")
    several.end_epoch(1)
    several.check(1)


def test_two_processes_can_not_use_one_state_folder(several: Several) -> None:
    several.start("left")
    until(lambda: several.leader() == "left", "the start")
    command = [sys.executable, str(SCRIPT), str(several.folder), "left", several.url]
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "another auditor runs with --state-dir" in second.stderr


@contextmanager
def serving(server: PostgresqlServer) -> Iterator[None]:
    """A server runs beside the block, on the data of its folder."""
    with (server.folder / "log").open("ab") as log:
        process = subprocess.Popen(server.command, stdout=log, stderr=log, cwd="/")
    try:
        until(server.is_ready, "the server's start")
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE_S)


def test_auditors_outlive_a_database_server_that_goes_away_and_comes_back(
    tmp_path: Path, postgresql: NewDatabases
) -> None:
    with TemporaryDirectory(prefix="constantinople-pg-") as folder:
        server = PostgresqlServer(postgresql.server.programs, Path(folder))
        server.prepare()
        with serving(server):
            several = Several(tmp_path, server.url)
            several.start("left")
            several.run_epoch(1)
        until(lambda: not several.leads("left"), "the leader's notice that its database is gone")
        with serving(server):
            several.run_epoch(2)
            assert several.running["left"].poll() is None
            several.check(2)
            several.stop()
