"""A lone auditor dies at each of its writes in turn, and goes on: no record lost, nothing counted twice."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.engine import Connection

from shared.object_store import FolderStore
from shared.record_log import RecordReader, RecordWriter
from tests.validator.audit_rig import EPOCH_SECONDS, NETUID, AuditRig
from tests.validator.auditor_examples import AUDITOR, CHEAT, HONEST, ExampleChain, many_records
from validator.database import Database
from validator.epoch_check import Expectations, check_latest
from validator.record_follower import RecordFollower

EACH = 4
"""Answers of each of two miners: all are audited."""

MOST_WRITES = 200


class Killed(BaseException):
    """The process is gone."""


class MortalDatabase(Database):
    """A database whose process is killed at one of its writes, before or after the transaction is whole."""

    def __init__(self, url: str) -> None:
        self.writes_left, self.commits = MOST_WRITES, False
        super().__init__(url)

    def dies_at(self, write: int, commits: bool) -> None:
        self.writes_left, self.commits = write, commits

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        self.writes_left -= 1
        if self.writes_left < 0:
            raise Killed
        with super().writing() as connection:
            yield connection
            if self.writes_left == 0 and not self.commits:
                raise Killed
        if self.writes_left == 0:
            raise Killed


class Life:
    """One run of the auditor, from its start until it is killed or has published and set weights."""

    def __init__(self, database: Database, folder: Path, before: AuditRig | None = None) -> None:
        self.rig = AuditRig(database, before.chain, before.clock) if before else AuditRig(database)
        self.rig.leases.clear()
        self.follower = RecordFollower(RecordReader(folder / "log"), "log", self.rig.requests)
        self.store = FolderStore(folder / "store")

    async def run(self) -> None:
        rig = self.rig
        await rig.metagraph.refresh()
        while await asyncio.to_thread(self.follower.follow):
            pass
        if rig.chain.height < 5:
            await rig.new_block(1 + round(EPOCH_SECONDS / 12))
        for _ in range(60):
            await self._step()
            await rig.setter.step()
            if self.is_done():
                return
        raise AssertionError("the epoch did not come to its end")

    async def _step(self) -> None:
        """Bring the epoch to its publication; then time goes on, as weights of unknown outcome need it to."""
        rig = self.rig
        if rig.epochs.newest_published() is not None:
            rig.chain.height += 10
            return
        await rig.step()
        rig.publication.step()
        if rig.spool.waiting():
            rig.publish_next(self.store)

    def is_done(self) -> bool:
        newest, weights = self.rig.epochs.newest_published(), self.rig.weights.newest()
        return newest is not None and weights is not None and weights.state == "set"


async def live_and_die(url: str, folder: Path, write: int, commits: bool) -> tuple[Life, bool]:
    """The life that came to its end, and whether an earlier one was killed."""
    mortal = MortalDatabase(url)
    rig: AuditRig | None = None
    mortal.dies_at(write, commits)
    try:
        life = Life(mortal, folder)
        rig = life.rig
        await life.run()
    except Killed:
        if rig is not None:
            for task in rig.audits._running.values():
                task.cancel()
            await asyncio.gather(*rig.audits._running.values(), return_exceptions=True)
        mortal.close()
        life = Life(Database(url), folder, rig)
        await life.run()
        return life, True
    return life, False


def check(life: Life, folder: Path) -> None:
    """What must hold whenever the process died."""
    rig = life.rig
    facts, verdicts = rig.requests.facts(1), rig.requests.verdicts(1)
    assert len(facts) == len({one.request_id for one in facts}) == 2 * EACH
    assert len(verdicts) == len({one.request_id for one in verdicts}) == 2 * EACH
    expected = Expectations(AUDITOR.ss58_address, NETUID, 10**9, rig.clock())
    summary, _ = check_latest(life.store, expected, None)
    assert (summary.epoch, summary.records, summary.audits_outstanding) == (1, 2 * EACH, 0)
    assert not life.store.keys("epochs/2")
    assert len(rig.chain.sent) == 1
    assert rig.chain.on_chain[0] == {one.uid: one.weight for one in summary.weights}
    assert isinstance(rig.chain, ExampleChain)


@pytest.mark.parametrize("commits", [False, True], ids=["before it counts", "after it counts"])
async def test_killed_at_any_write_it_goes_on_without_loss_or_double(tmp_path: Path, commits: bool) -> None:
    for write in range(1, MOST_WRITES):
        folder = tmp_path / str(write)
        writer = RecordWriter(folder / "log")
        for record in (
            *many_records(HONEST, 1, range(EACH)),
            *many_records(CHEAT, 3, range(100, 100 + EACH)),
        ):
            writer.append(record)
        writer.close()
        life, was_killed = await live_and_die(f"sqlite:///{folder}/audit.sqlite", folder, write, commits)
        await asyncio.to_thread(check, life, folder)
        if not was_killed:
            assert write > 2 * EACH, "every audit is a write"
            return
    raise AssertionError("it never came to its end unharmed")
