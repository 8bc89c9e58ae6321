"""The watchtower as a process: look, check, set the same weights, remember."""

import asyncio
import logging
from collections.abc import Sequence

from sqlalchemy import delete, insert, select

from shared.chain import Neuron
from shared.errors import ChainError, ConstantinopleError, ObjectMissing, StoreError
from shared.object_store import ObjectReader
from validator.clock import Clock
from validator.database import Database, followed
from validator.epoch_check import Expectations, FollowedEpoch, check_latest
from validator.epoch_evidence import EpochRefused
from validator.epoch_summary import EpochSummary
from validator.heartbeat import HeartbeatFile
from validator.known_calibration import KnownCalibration
from validator.silent_publisher import HOUR_MS, SilencePolicy
from validator.supervision import run_until
from validator.troubles import Troubles
from validator.watchtower_config import WatchtowerConfig
from validator.watchtower_reaudits import EpochReaudits
from validator.weight_setter import WeightChain, WeightSetter
from validator.weight_state import WeightEntry, WeightQueue, queue_weights

log = logging.getLogger(__name__)

WEIGHTS_PAUSE_S = 3.0


class FollowedState:
    """The newest epoch that passed every check. Blocks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self, publisher: str) -> FollowedEpoch | None:
        """The newest epoch of this publisher that was followed."""
        query = select(followed).where(followed.c.publisher == publisher)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return FollowedEpoch(row.epoch, row.summary.encode()) if row else None

    def follow(self, found: FollowedEpoch, summary: EpochSummary) -> None:
        """In one transaction: remember the epoch and let its weights wait to be set."""
        hotkeys = {miner.uid: miner.hotkey for miner in summary.miners}
        entries = [WeightEntry(one.uid, hotkeys[one.uid], one.weight) for one in summary.weights]
        detail = "" if entries else "the publisher found that no miner earned anything"
        with self._database.writing() as connection:
            connection.execute(delete(followed).where(followed.c.publisher == summary.publisher))
            connection.execute(
                insert(followed).values(
                    publisher=summary.publisher, epoch=found.epoch, summary=found.data.decode()
                )
            )
            queue_weights(connection, found.epoch, entries, detail)


def most_staked_validator(neurons: Sequence[Neuron], own: str) -> str:
    """The hotkey with a validator permit and the most stake, other than our own.

    Raises:
        ChainError: there is none.
    """
    validators = [one for one in neurons if one.validator_permit and one.hotkey != own]
    if not validators:
        raise ChainError("no other validator is on the metagraph; name one with --publisher HOTKEY")
    return max(validators, key=lambda one: (one.stake_rao, -one.uid)).hotkey


class Watchtower:
    """Follows one publisher."""

    def __init__(
        self,
        config: WatchtowerConfig,
        reader: ObjectReader,
        chain: WeightChain,
        hotkey: str,
        database: Database,
        clock: Clock,
        calibration: KnownCalibration | None = None,
        reaudits: EpochReaudits | None = None,
    ) -> None:
        self._calibration, self._reaudits = calibration, reaudits
        self._silence = SilencePolicy(
            round(config.max_age_seconds * 1000),
            round(config.silent_hours * HOUR_MS) if config.when_silent == "keep" else 0,
        )
        self._publisher = config.publisher
        self._set_again_at_ms: int | None = None
        self._config, self._reader, self._chain = config, reader, chain
        self._hotkey, self._clock = hotkey, clock
        self.state, self.weights = FollowedState(database), WeightQueue(database)
        self.troubles = Troubles()
        self.heartbeat: HeartbeatFile | None = None
        self._setter = WeightSetter(chain, self.weights, hotkey, config.netuid)

    async def look(self) -> FollowedEpoch | None:
        """Check what is newest and queue its weights, once an epoch; None when nothing is published.

        Raises:
            EpochRefused: it must not be followed; its weights are not set.
            StoreError: the source can't be read.
            ChainError: the publisher is to be found on the metagraph, which can't be read.
        """
        publisher = self._config.publisher or most_staked_validator(await self._chain.neurons(), self._hotkey)
        self._publisher = publisher
        last = await asyncio.to_thread(self.state.last, publisher)
        expected = Expectations(
            publisher,
            self._config.netuid,
            round(self._config.max_age_seconds * 1000),
            self._clock(),
            self._calibration,
        )
        try:
            summary, found = await asyncio.to_thread(check_latest, self._reader, expected, last)
        except ObjectMissing:
            log.info("nothing is published at %s yet", self._config.source)
            return None
        if last is None or found.epoch > last.epoch:
            if self._reaudits is not None:
                await asyncio.to_thread(self._reaudits.check, summary)
            await asyncio.to_thread(self.state.follow, found, summary)
            log.info("epoch %d by %s is sound; its weights are to be set", found.epoch, publisher)
        return found

    async def once(self) -> int:
        """Follow the newest epoch and bring its weights onto the chain; gives the exit status."""
        try:
            found = await self.look()
            if found is None:
                return 1
            await self._setter.step()
        except ConstantinopleError as error:
            log.error("%s", _words(error))
            return 1
        newest = await asyncio.to_thread(self.weights.newest)
        state = newest.state if newest else "skipped"
        log.info("the weights of epoch %d: %s", found.epoch, state)
        return 0 if state in ("set", "committed", "skipped") else 1

    async def mind_silence(self) -> None:
        """Where there is no recent sound epoch, go on with the last one's weights as the policy says."""
        last = await asyncio.to_thread(self.state.last, self._publisher) if self._publisher else None
        if last is None:
            return
        summary, now_ms = last.summary(), self._clock()
        decision = self._silence.decide(summary.closed_at_ms, self._set_again_at_ms, now_ms)
        if decision == "sound":
            self._set_again_at_ms = None
            self.troubles.clear("silence")
            return
        words = self._silence.words(decision, last.epoch, summary.closed_at_ms)
        self.troubles.report("silence", words)
        if decision == "again":
            self._set_again_at_ms = now_ms
            await asyncio.to_thread(self.state.follow, last, summary)

    async def run(self, stop: asyncio.Event) -> bool:
        """Follow until `stop` is set; returns False when a part failed instead."""
        return await run_until(stop, {"epochs": self._watch(), "weights": self._set()})

    async def _watch(self) -> None:
        while True:
            found = None
            try:
                found = await self.look()
            except (EpochRefused, StoreError, ChainError) as error:
                self.troubles.report("epochs", _words(error))
            else:
                self.troubles.clear("epochs")
            await self.mind_silence()
            if self.heartbeat is not None:
                epoch = found.epoch if found else None
                await asyncio.to_thread(self.heartbeat.looked, epoch, self.troubles.all())
            await asyncio.sleep(self._config.poll_seconds)

    async def _set(self) -> None:
        while True:
            try:
                await self._setter.step()
            except ChainError as error:
                self.troubles.report("weights", f"{error}; trying again")
            else:
                self.troubles.clear("weights")
            if self.heartbeat is not None:
                await asyncio.to_thread(self._tell_weights, self.heartbeat)
            await asyncio.sleep(min(WEIGHTS_PAUSE_S, self._config.poll_seconds))

    def _tell_weights(self, heartbeat: HeartbeatFile) -> None:
        newest = self.weights.newest()
        words = (
            f"weights of epoch {newest.epoch}: {newest.state}, {newest.detail}"
            if newest
            else "no weights yet"
        )
        heartbeat.stepped(words, self.weights.waiting() is not None, self.troubles.all())


def _words(error: ConstantinopleError) -> str:
    refused = f"refused ({error.cause}): " if isinstance(error, EpochRefused) else ""
    return f"{refused}{error}"
