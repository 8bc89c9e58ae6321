"""What one auditor does for all that share its database, as long as it leads: it follows the record logs,
opens, seals and publishes epochs, anchors them, sets weights, and sends requests and rounds of its own.

All that it writes is checked against its lease in the same transaction.
"""

import asyncio
import hashlib
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from shared.record_feed import open_feed
from validator.anchoring import AnchorSetter
from validator.audit_config import AuditConfig
from validator.audit_loop import AuditLoop
from validator.block_window import BlockWindow
from validator.database import Database
from validator.documents import Documents
from validator.epoch_sealing import EpochSealer
from validator.epoch_state import EpochState
from validator.epoch_terms import EpochTerms
from validator.epochs import EpochLoop
from validator.known_prefixes import KnownPrefixes
from validator.leadership import Term
from validator.leases import LeaseBook
from validator.manifest import code_revision
from validator.metagraph import Metagraph
from validator.publication import Publication, upload_command
from validator.record_follower import RecordFollower
from validator.repeating import repeat
from validator.request_state import RequestState
from validator.round_book import RoundBook
from validator.round_state import RoundState
from validator.round_traffic import RoundTraffic
from validator.spool import Spool
from validator.surroundings import SCORING, Surroundings
from validator.synthetic_start import synthetic_traffic
from validator.synthetic_state import STATE_FILE, SharedState
from validator.synthetic_traffic import SyntheticTraffic
from validator.troubles import Troubles
from validator.weight_setter import WeightSetter
from validator.weight_state import WeightQueue


@dataclass(frozen=True)
class Common:
    """What a leader uses together with the part of its process that audits.

    Attributes:
        shared: whether other auditors may use the database, so that nothing they need is kept in files.
        round_key: what the secrets of rounds are made from.
        serving: gives the hotkeys that serve an axon now.
    """

    config: AuditConfig
    around: Surroundings
    database: Database
    shared: bool
    round_key: bytes
    audits: AuditLoop
    blocks: BlockWindow
    metagraph: Metagraph
    troubles: Troubles
    serving: Callable[[], Sequence[str]]


class Leader:
    """The leader's parts for one term."""

    def __init__(self, common: Common, term: Term) -> None:
        self._common, self._term = common, term
        config, around = common.config, common.around
        database = common.database.guarded(term.lease.check)
        self._database = database
        self._epochs, self._rounds = EpochState(database), RoundState(database)
        requests, hotkey = RequestState(database), around.signer.ss58_address
        spool, prefixes = Spool(config.spool_folder), KnownPrefixes()
        self._publication = Publication(
            spool,
            self._epochs,
            requests,
            self._rounds,
            common.troubles,
            upload_command(config),
            around.pauses.publish_s,
        )
        gateway = config.gateway_hotkey or hotkey
        self._followers = {
            name: RecordFollower(open_feed(place, gateway, around.signer), name, requests, prefixes)
            for name, place in config.record_places.items()
        }
        terms, book = epoch_terms(config, around), RoundBook(self._rounds, common.round_key, SCORING)
        self.loop = EpochLoop(
            terms,
            self._epochs,
            requests,
            common.audits,
            common.blocks,
            common.metagraph,
            EpochSealer(
                *(terms, self._epochs, requests, book, around.signer, around.clock),
                None if common.shared else spool,
            ),
            around.clock,
            random.SystemRandom().random,
            book,
        )
        self._setter = WeightSetter(around.chain, WeightQueue(database), hotkey, config.netuid)
        confirm = partial(LeaseBook(common.database).confirm, term.lease)
        self._anchor = AnchorSetter(around.chain, self._epochs, hotkey, around.clock, confirm)

    @property
    def newest_record_at_ms(self) -> int | None:
        """When the newest record that was read ended."""
        times = [one.newest_record_at_ms for one in self._followers.values()]
        return max((at_ms for at_ms in times if at_ms is not None), default=None)

    async def run(self) -> bool:
        """Lead until the term is over; False when a part failed instead.

        Raises:
            ConfigError: the state of synthetic traffic can't be read.
        """
        pauses, troubles = self._common.around.pauses, self._common.troubles
        every = partial(repeat, troubles=troubles, chain_failed=self.loop.note_chain_trouble)
        async with self._synthetic_traffic() as synthetic:
            tasks = {f"records of {name}": self._follow(name) for name in self._followers} | {
                "epochs": every(pauses.step_s, "epochs", self.loop.step),
                "weights": every(pauses.weights_s, "weights", self._setter.step),
                "publication": self._publication.run(),
                "anchor": every(pauses.anchor_s, "anchor", self._anchor.step),
            }
            if synthetic is not None:
                tasks["synthetic traffic"] = synthetic.run()
                tasks["rounds of probes"] = self._round_traffic(synthetic).run()
            return await self._term.run(tasks)

    async def _follow(self, name: str) -> None:
        follower, pause_s = self._followers[name], self._common.around.pauses.follow_s

        async def step() -> None:
            while await asyncio.to_thread(follower.follow):
                pass

        await repeat(pause_s, f"records of {name}", step, self._common.troubles)

    def _serving(self) -> Sequence[str]:
        """Who may be asked: nobody once the lease may have passed to another."""
        return self._common.serving() if self._term.lasts() else ()

    def _synthetic_traffic(self) -> AbstractAsyncContextManager[SyntheticTraffic | None]:
        config, around = self._common.config, self._common.around
        file = config.state_folder / STATE_FILE
        keeper = SharedState(Documents(self._database), file) if self._common.shared else None
        return synthetic_traffic(
            *(config, around.signer, around.model, self._serving, self._common.troubles, around.clock), keeper
        )

    def _round_traffic(self, synthetic: SyntheticTraffic) -> RoundTraffic:
        return RoundTraffic(
            self._serving,
            lambda: self._common.blocks.newest,
            self.loop.round_terms,
            synthetic,
            self._rounds,
            SCORING,
            self._common.around.clock,
        )


def epoch_terms(config: AuditConfig, around: Surroundings) -> EpochTerms:
    """What is the same of all epochs. Blocks."""
    calibration = hashlib.sha256(around.calibration.read_bytes()).hexdigest()
    return EpochTerms(
        config.netuid, around.model, calibration, config.epoch_seconds, SCORING, code_revision()
    )
