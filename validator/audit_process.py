"""The audit validator as a process: its parts put together, run until a signal, taken down in order."""

import asyncio
import hashlib
import logging
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ChainError, ChainUnavailable, ConfigError, ConstantinopleError, StoreError
from shared.object_store import open_store
from shared.record_log import RecordReader
from shared.signing import Signer
from validator.anchoring import AnchorSetter
from validator.audit_config import AuditConfig
from validator.audit_loop import Auditing, AuditLoop
from validator.block_window import BlockWindow
from validator.clock import Clock
from validator.database import Database, sqlite_url
from validator.epoch_sealing import EpochSealer
from validator.epoch_state import EpochState
from validator.epoch_terms import EpochTerms
from validator.epochs import EpochLoop
from validator.manifest import code_revision
from validator.metagraph import Metagraph
from validator.publication import Publication, upload_command
from validator.publishing import last_published
from validator.record_follower import RecordFollower
from validator.request_state import RequestState
from validator.round_book import RoundBook
from validator.round_state import RoundState, load_round_key
from validator.round_traffic import RoundTraffic
from validator.scoring_config import ScoringConfig
from validator.spool import Spool
from validator.status_app import StatusSources, build_status_app
from validator.status_server import serve_status
from validator.supervision import run_until
from validator.synthetic_start import synthetic_traffic
from validator.synthetic_traffic import SyntheticTraffic
from validator.troubles import Troubles
from validator.weight_setter import WeightChain, WeightSetter
from validator.weight_state import WeightQueue

log = logging.getLogger(__name__)

SCORING = ScoringConfig()
"""What every auditor of the network scores with; a follower refuses an epoch that was scored otherwise."""


@dataclass(frozen=True)
class Pauses:
    """Seconds between two turns of each of the auditor's loops."""

    follow_s: float = 0.5
    step_s: float = 1.0
    weights_s: float = 3.0
    publish_s: float = 1.0
    anchor_s: float = 6.0


@dataclass(frozen=True)
class Surroundings:
    """What the auditor gets from outside, so that tests pass their own. `model` is its public name."""

    signer: Signer
    chain: WeightChain
    auditor: Auditing
    model: str
    calibration: Path
    clock: Clock
    pauses: Pauses = Pauses()


def open_database(config: AuditConfig) -> Database:
    """The auditor's database, up to date.

    Raises:
        ConfigError: it can't be opened.
    """
    return Database(config.database or sqlite_url(config.state_folder / "audit.sqlite"))


class AuditValidator:
    """The parts of a running auditor."""

    def __init__(self, config: AuditConfig, around: Surroundings, database: Database) -> None:
        self._config, self._around = config, around
        self.troubles = Troubles()
        self.requests, self.epoch_state = RequestState(database), EpochState(database)
        self.weights, self._rounds = WeightQueue(database), RoundState(database)
        self._publication = Publication(
            Spool(config.spool_folder),
            self.epoch_state,
            self.requests,
            self._rounds,
            self.troubles,
            upload_command(config),
            around.pauses.publish_s,
        )
        source = str(config.records_folder.resolve())
        self._follower = RecordFollower(RecordReader(config.records_folder), source, self.requests)
        self._blocks = BlockWindow(around.chain)
        self._metagraph = Metagraph(around.chain, around.signer.ss58_address)
        self._audits = AuditLoop(
            self.requests,
            around.auditor,
            self._blocks,
            self._metagraph,
            SCORING,
            around.clock,
        )
        terms = self._terms()
        book = RoundBook(self._rounds, load_round_key(config.state_folder), SCORING)
        sealer = EpochSealer(
            terms, self.epoch_state, self.requests, book, around.signer, around.clock, self._publication.spool
        )
        self._epochs = EpochLoop(
            terms,
            self.epoch_state,
            self.requests,
            self._audits,
            self._blocks,
            self._metagraph,
            sealer,
            around.clock,
            random.SystemRandom().random,
            book,
        )
        self._setter = WeightSetter(around.chain, self.weights, around.signer.ss58_address, config.netuid)
        self._anchor = AnchorSetter(around.chain, self.epoch_state, around.signer.ss58_address, around.clock)
        self._serving: list[str] = []

    def _terms(self) -> EpochTerms:
        calibration = hashlib.sha256(self._around.calibration.read_bytes()).hexdigest()
        config = self._config
        return EpochTerms(
            config.netuid, self._around.model, calibration, config.epoch_seconds, SCORING, code_revision()
        )

    async def run(self, stop: asyncio.Event, listener: socket.socket) -> bool:
        """Run until `stop` is set; returns False when a part failed instead.

        Raises:
            ConfigError: the store can't be read, or holds another auditor's epochs.
        """
        await asyncio.to_thread(self._begin)
        app = build_status_app(self._status_sources())
        pauses = self._around.pauses
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._audits.stop)
            synthetic = await stack.enter_async_context(self._synthetic_traffic())
            tasks = {
                "records": self._follow(),
                "metagraph": self._every(self._config.metagraph_seconds, "metagraph", self._read_metagraph),
                "audits and epochs": self._every(pauses.step_s, "audits", self._audit),
                "weights": self._every(pauses.weights_s, "weights", self._setter.step),
                "publication": self._publication.run(),
                "anchor": self._every(pauses.anchor_s, "anchor", self._anchor.step),
                "status": serve_status(app, listener),
            }
            if synthetic is not None:
                tasks["synthetic traffic"] = synthetic.run()
                tasks["rounds of probes"] = self._round_traffic(synthetic).run()
            return await run_until(stop, tasks)

    def _synthetic_traffic(self) -> AbstractAsyncContextManager[SyntheticTraffic | None]:
        around = self._around
        return synthetic_traffic(
            self._config, around.signer, around.model, lambda: self._serving, self.troubles, around.clock
        )

    def _round_traffic(self, synthetic: SyntheticTraffic) -> RoundTraffic:
        return RoundTraffic(
            lambda: self._serving,
            lambda: self._blocks.newest,
            self._epochs.round_terms,
            synthetic,
            self._rounds,
            SCORING,
            self._around.clock,
        )

    def _begin(self) -> None:
        """Continue where the state ends, or, with an empty state, where the store ends."""
        config = self._config
        if self.epoch_state.is_empty():
            try:
                store = open_store(config.store_location, config.store_endpoint, config.store_region)
                found = last_published(store, self._around.signer.ss58_address)
            except ConfigError:
                raise
            except ConstantinopleError as error:
                raise ConfigError(
                    f"--store can't be continued: {error}; name another folder or prefix to begin anew"
                ) from None
            if found is not None:
                log.info("the state is empty; going on after epoch %d, which is in the store", found[0])
                self.epoch_state.adopt(*found, now_ms=self._around.clock())
        self._epochs.ensure_open()

    def _status_sources(self) -> StatusSources:
        return StatusSources(
            self._around.signer.ss58_address,
            self._config.netuid,
            self._around.model,
            self._around.calibration,
            SCORING,
            self.epoch_state,
            self.requests,
            self.weights,
            self._follower,
            self._audits,
            self._blocks,
            self.troubles,
            self._around.clock,
        )

    async def _follow(self) -> None:
        while True:
            if not await asyncio.to_thread(self._follower.follow):
                await asyncio.sleep(self._around.pauses.follow_s)

    async def _every(self, pause_s: float, subject: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat `step`; while chain or disk fail, say so and go on trying."""
        while True:
            try:
                await step()
            except (ChainError, StoreError) as error:
                self.troubles.report(subject, f"{error}; trying again")
                if isinstance(error, ChainUnavailable):
                    self._epochs.note_chain_trouble()
            else:
                self.troubles.clear(subject)
            await asyncio.sleep(pause_s)

    async def _read_metagraph(self) -> None:
        neurons = await self._metagraph.refresh()
        own = self._around.signer.ss58_address
        self._serving = [neuron.hotkey for neuron in neurons if neuron.axon and neuron.hotkey != own]

    async def _audit(self) -> None:
        await self._audits.step(await asyncio.to_thread(self._epochs.plans))
        await self._epochs.step()
