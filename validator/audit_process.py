"""The audit validator as a process: its parts put together, run until a signal, taken down in order.

Each audits. One of those that share a database leads as well (`leader.py`), an auditor that is alone always.
"""

import asyncio
import logging
import socket
from contextlib import AsyncExitStack
from functools import partial

from shared.errors import ConfigError, ConstantinopleError
from shared.object_store import open_store
from validator.audit_config import AuditConfig
from validator.audit_leases import AuditLeases
from validator.audit_loop import AuditLoop
from validator.audit_plans import AuditPlans
from validator.block_window import BlockWindow
from validator.database import Database, sqlite_url
from validator.documents import Documents
from validator.epoch_state import EpochState
from validator.instance import own_instance
from validator.leader import Common, Leader
from validator.leadership import LEADER, Leadership, Term
from validator.leases import LeaseBook
from validator.metagraph import Metagraph
from validator.publishing import last_published
from validator.repeating import repeat
from validator.request_state import RequestState
from validator.round_state import load_round_key, shared_round_key
from validator.status_app import StatusSources, build_status_app
from validator.status_server import serve_status
from validator.supervision import run_until
from validator.surroundings import SCORING, Surroundings
from validator.troubles import Troubles
from validator.weight_state import WeightQueue

log = logging.getLogger(__name__)


def open_database(config: AuditConfig) -> Database:
    """The auditor's database, up to date.

    Raises:
        ConfigError: it can't be opened.
    """
    return Database(config.database or sqlite_url(config.state_folder / "audit.sqlite"))


class AuditValidator:
    """The parts of a running auditor."""

    def __init__(self, config: AuditConfig, around: Surroundings, database: Database) -> None:
        self._config, self._around, self._database = config, around, database
        self._shared = config.database is not None
        self.troubles = Troubles()
        self.requests, self.epoch_state = RequestState(database), EpochState(database)
        self._book = LeaseBook(database)
        self._blocks, self._metagraph = (
            BlockWindow(around.chain),
            Metagraph(around.chain, around.signer.ss58_address),
        )
        self._plans = AuditPlans(self.epoch_state, self.requests)
        self._audit_leases = AuditLeases(database, lasts_ms=round(around.lease.audits_s * 1000))
        self._audits = AuditLoop(
            self.requests,
            around.auditor,
            self._blocks,
            self._metagraph,
            SCORING,
            around.clock,
            self._audit_leases,
            config.name,
        )
        self._leadership: Leadership | None = None
        self._leader: Leader | None = None
        self._serving: list[str] = []

    async def run(self, stop: asyncio.Event, listener: socket.socket) -> bool:
        """Run until `stop` is set; returns False when a part failed instead.

        Raises:
            ConfigError: the store can't be read, or holds another auditor's epochs; or another auditor uses
                the state folder.
        """
        config, pauses = self._config, self._around.pauses
        with own_instance(config.state_folder) as instance:
            common = await asyncio.to_thread(self._common)
            holder = f"{config.name} ({instance})"
            self._leadership = Leadership(self._book, holder, self._around.lease, self.troubles)
            app = build_status_app(self._status_sources())
            every = partial(repeat, troubles=self.troubles)
            async with AsyncExitStack() as stack:
                stack.push_async_callback(self._audits.stop)
                return await run_until(
                    stop,
                    {
                        "leadership": self._leadership.run(partial(self._lead, common)),
                        "metagraph": every(config.metagraph_seconds, "metagraph", self._read_metagraph),
                        "audits": every(
                            pauses.step_s, "audits", self._audit, chain_failed=self._chain_failed
                        ),
                        "leases": every(pauses.leases_s, "leases of audits", self._audits.keep_leases),
                        "status": serve_status(app, listener),
                    },
                )

    def _common(self) -> Common:
        """What a leader uses, too; the store is looked at before anything begins."""
        folder, documents = self._config.state_folder, Documents(self._database)
        key = shared_round_key(documents, folder) if self._shared else load_round_key(folder)
        if not self._shared:
            self._audit_leases.clear()
        self._found = self._last_published() if self.epoch_state.is_empty() else None
        return Common(
            self._config,
            self._around,
            self._database,
            self._shared,
            key,
            self._audits,
            self._blocks,
            self._metagraph,
            self.troubles,
            lambda: self._serving,
        )

    async def _lead(self, common: Common, term: Term) -> bool:
        leader = await asyncio.to_thread(Leader, common, term)
        await asyncio.to_thread(self._begin, term, leader)
        self._leader = leader
        try:
            return await leader.run()
        finally:
            self._leader = None

    def _begin(self, term: Term, leader: Leader) -> None:
        """Continue where the state ends, or, with an empty state, where the store ends."""
        epochs = EpochState(self._database.guarded(term.lease.check))
        if epochs.is_empty() and self._found is not None:
            log.info("the state is empty; going on after epoch %d, which is in the store", self._found[0])
            epochs.adopt(*self._found, now_ms=self._around.clock())
        leader.loop.ensure_open()

    def _last_published(self) -> tuple[int, bytes] | None:
        config = self._config
        try:
            store = open_store(config.store_location, config.store_endpoint, config.store_region)
            return last_published(store, self._around.signer.ss58_address)
        except ConfigError:
            raise
        except ConstantinopleError as error:
            raise ConfigError(
                f"--store can't be continued: {error}; name another folder or prefix to begin anew"
            ) from None

    def _chain_failed(self) -> None:
        if self._leader is not None:
            self._leader.loop.note_chain_trouble()

    def _leads(self) -> bool:
        return self._leadership is not None and self._leadership.leads

    def _status_sources(self) -> StatusSources:
        return StatusSources(
            self._around.signer.ss58_address,
            self._config.netuid,
            self._around.model,
            self._around.calibration,
            SCORING,
            self.epoch_state,
            self.requests,
            WeightQueue(self._database),
            lambda: self._leader.newest_record_at_ms if self._leader else None,
            self._audits,
            self._blocks,
            self.troubles,
            self._around.clock,
            self._config.name,
            self._leads,
            lambda: self._book.holder(LEADER),
        )

    async def _read_metagraph(self) -> None:
        neurons = await self._metagraph.refresh()
        own = self._around.signer.ss58_address
        self._serving = [neuron.hotkey for neuron in neurons if neuron.axon and neuron.hotkey != own]

    async def _audit(self) -> None:
        plans = await asyncio.to_thread(self._plans.plans)
        await self._audits.step(plans, draws=self._leads())
