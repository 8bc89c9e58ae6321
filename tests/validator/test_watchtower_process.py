import asyncio
from pathlib import Path
from typing import Any

import pytest

from shared.errors import ChainError, StoreError
from shared.object_store import MAX_OBJECT_BYTES, FolderStore
from tests.shared.whole_reads import WholeReads
from tests.validator.audit_rig import NETUID, AuditRig, epoch_traffic, subnet
from tests.validator.auditor_examples import AUDITOR, FOLLOWER, HONEST, ExampleChain, neuron
from validator.database import Database, sqlite_url
from validator.epoch_evidence import EpochRefused
from validator.epoch_summary import seal, summary_key
from validator.heartbeat import HeartbeatFile
from validator.known_calibration import KnownCalibration
from validator.watchtower_config import WatchtowerConfig
from validator.watchtower_health import health
from validator.watchtower_process import Watchtower, most_staked_validator


class Rig:
    """An auditor that publishes into a folder, and a watchtower that follows it on the same chain."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.audit = AuditRig(database)
        self.chain = ExampleChain(subnet(), height=50, own=FOLLOWER)
        self.store = FolderStore(folder / "store")
        self.own_database = Database(sqlite_url(folder / "watchtower.sqlite"))
        self.restart()

    def restart(self, calibration: KnownCalibration | None = None, **changes: Any) -> None:
        config = WatchtowerConfig(
            source=str(self.folder / "store"), netuid=NETUID, poll_seconds=0.01, **changes
        )
        self.tower = Watchtower(
            config,
            self.store,
            self.chain,
            FOLLOWER.ss58_address,
            self.own_database,
            self.audit.clock,
            calibration,
        )

    async def publish_epoch(self, first: int) -> None:
        await self.audit.run_epoch(epoch_traffic(first, self.audit.clock()))
        self.audit.publish_next(self.store)

    @property
    def set_weights(self) -> dict[int, int]:
        return self.chain.on_chain.get(4, {})

    def published_weights(self) -> dict[int, int]:
        sealed = self.audit.epochs.sealed()
        assert sealed is not None
        return {one.uid: one.weight for one in sealed.summary().weights}


@pytest.fixture
def rig(database: Database, tmp_path: Path) -> Any:
    built = Rig(database, tmp_path)
    yield built
    built.own_database.close()


async def test_it_sets_the_published_weights(rig: Rig) -> None:
    await rig.publish_epoch(0)
    assert await rig.tower.once() == 0
    assert rig.set_weights == rig.published_weights() != {}


async def test_it_follows_epoch_after_epoch_and_sets_each_once(rig: Rig) -> None:
    for first in (0, 1000, 2000):
        await rig.publish_epoch(first)
        for _ in range(2):
            assert await rig.tower.once() == 0
    assert len(rig.chain.sent) == 3


async def test_after_a_restart_it_remembers_what_it_set(rig: Rig) -> None:
    await rig.publish_epoch(0)
    await rig.tower.once()
    rig.restart()
    await rig.tower.once()
    assert len(rig.chain.sent) == 1


async def test_a_kill_between_following_and_sending_loses_nothing(rig: Rig) -> None:
    await rig.publish_epoch(0)
    await rig.tower.look()
    rig.restart()
    assert await rig.tower.once() == 0
    assert rig.set_weights == rig.published_weights()


async def test_epochs_that_were_missed_are_no_obstacle(rig: Rig) -> None:
    await rig.publish_epoch(0)
    await rig.tower.once()
    for first in (1000, 2000, 3000):
        await rig.publish_epoch(first)
    assert await rig.tower.once() == 0
    assert len(rig.chain.sent) == 2


async def test_a_tampered_epoch_is_not_set_and_the_reason_is_told(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    await rig.publish_epoch(0)
    sealed = rig.audit.epochs.sealed()
    assert sealed is not None
    forged = seal(sealed.summary().model_copy(update={"publisher": HONEST.ss58_address}), HONEST)
    rig.store.put(summary_key(1), forged)
    assert await rig.tower.once() == 1
    assert rig.chain.sent == []
    assert "refused (digest)" in caplog.text


async def test_a_publisher_that_stopped_is_noticed_and_not_copied(rig: Rig) -> None:
    await rig.publish_epoch(0)
    rig.audit.clock.now_ms += 3 * 3_600_000
    with pytest.raises(EpochRefused, match="the publisher has stopped"):
        await rig.tower.look()
    assert rig.chain.sent == []


async def test_nothing_published_yet_is_waited_for(rig: Rig) -> None:
    assert await rig.tower.look() is None
    assert await rig.tower.once() == 1


async def test_an_epoch_in_which_nobody_earned_sets_nothing(rig: Rig) -> None:
    await rig.audit.run_epoch([])
    rig.audit.publish_next(rig.store)
    assert await rig.tower.once() == 0
    assert rig.chain.sent == []


async def test_the_publisher_is_the_validator_with_the_most_stake(rig: Rig) -> None:
    assert most_staked_validator(subnet(), FOLLOWER.ss58_address) == AUDITOR.ss58_address
    impostor = neuron(HONEST, 5, None, validator_permit=False, stake_rao=10**15)
    assert most_staked_validator([*subnet(), impostor], FOLLOWER.ss58_address) == AUDITOR.ss58_address


async def test_it_does_not_follow_itself() -> None:
    alone = [neuron(FOLLOWER, 4, None, validator_permit=True, stake_rao=1)]
    with pytest.raises(ChainError, match="name one with --publisher"):
        most_staked_validator(alone, FOLLOWER.ss58_address)


async def test_a_named_publisher_is_held_to_its_name(rig: Rig) -> None:
    await rig.publish_epoch(0)
    rig.restart(publisher=HONEST.ss58_address)
    with pytest.raises(EpochRefused) as refused:
        await rig.tower.look()
    assert refused.value.cause == "publisher"


async def test_it_goes_on_through_failures_of_source_and_chain(rig: Rig) -> None:
    await rig.publish_epoch(0)
    rig.chain.down = True
    stop = asyncio.Event()
    running = asyncio.create_task(rig.tower.run(stop))
    async with asyncio.timeout(60):
        while "epochs" not in rig.tower.troubles.all():
            await asyncio.sleep(0.01)
        rig.chain.down = False
        while not rig.chain.sent:
            await asyncio.sleep(0.01)
    stop.set()
    assert await running
    assert rig.set_weights == rig.published_weights()


async def test_a_running_watchtower_shows_how_it_is(rig: Rig) -> None:
    await rig.publish_epoch(0)
    rig.chain.down = True
    clock = rig.audit.clock
    rig.tower.heartbeat = HeartbeatFile(rig.folder, "the store", 0.01, clock, "")
    stop = asyncio.Event()
    running = asyncio.create_task(rig.tower.run(stop))
    async with asyncio.timeout(60):
        while "for the moment" not in health(rig.folder, clock())[1]:
            await asyncio.sleep(0.01)
        rig.chain.down = False
        while "weights of epoch 1: set" not in health(rig.folder, clock())[1]:
            await asyncio.sleep(0.01)
    well, why = health(rig.folder, clock())
    assert well
    assert "follows epoch 1 of the store" in why
    stop.set()
    assert await running


async def test_an_unreadable_source_is_reported(rig: Rig) -> None:
    class Broken(WholeReads):
        def get(self, key: str, most_bytes: int = MAX_OBJECT_BYTES) -> bytes:
            raise StoreError("the service is down")

    tower = Watchtower(
        WatchtowerConfig(source="x"),
        Broken(),
        rig.chain,
        FOLLOWER.ss58_address,
        rig.own_database,
        rig.audit.clock,
    )
    assert await tower.once() == 1
    with pytest.raises(StoreError):
        await tower.look()
