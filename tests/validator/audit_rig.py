"""The auditor's parts around a chain and an auditor in memory, stepped by hand."""

from collections.abc import Sequence
from pathlib import Path

from bittensor.sp_core import Keypair

from shared.canonical import sha256_hex
from shared.chain import Neuron
from shared.object_store import ObjectStore
from shared.record_log import Cursor
from shared.records import RequestRecord
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    AUDITOR,
    CHEAT,
    FOLLOWER,
    HONEST,
    ExampleAuditor,
    ExampleChain,
    ExampleClock,
    block_number,
    many_records,
    neuron,
)
from validator.audit_leases import AuditLeases
from validator.audit_loop import AuditLoop
from validator.block_window import BlockWindow
from validator.database import Database
from validator.epoch_sealing import EpochSealer
from validator.epoch_state import EpochState, SealedEpoch
from validator.epoch_terms import EpochTerms
from validator.epochs import EpochLoop
from validator.metagraph import Metagraph
from validator.publication import Publication
from validator.publishing import publish
from validator.request_state import RequestState
from validator.round_book import RoundBook
from validator.round_state import RoundState
from validator.scoring_config import ScoringConfig
from validator.spool import Spool
from validator.troubles import Troubles
from validator.weight_setter import WeightSetter
from validator.weight_state import WeightQueue

NETUID = 97
EPOCH_SECONDS = 60.0
ROUND_KEY = bytes(32)


def subnet() -> list[Neuron]:
    """An auditor, a follower, two honest miners and a cheat."""
    return [
        neuron(AUDITOR, 0, None, validator_permit=True, stake_rao=10**12),
        neuron(HONEST, 1, "127.0.0.1:9001"),
        neuron(ALSO_HONEST, 2, "127.0.0.1:9002"),
        neuron(CHEAT, 3, "127.0.0.1:9003"),
        neuron(FOLLOWER, 4, None, validator_permit=True, stake_rao=10**9),
    ]


def epoch_traffic(first: int, finished_at_ms: int, each: int = 8) -> list[RequestRecord]:
    """`each` answers of every miner; the cheat is the fastest."""
    at = {"finished_at_ms": finished_at_ms}
    return [
        *many_records(HONEST, 1, range(first, first + each), **at),
        *many_records(ALSO_HONEST, 2, range(first + 100, first + 100 + each), duration_ms=2000.0, **at),
        *many_records(CHEAT, 3, range(first + 200, first + 200 + each), duration_ms=100.0, **at),
    ]


def spool_folder(database: Database) -> Path:
    """Beside the database's file or server, so that a rig built twice on it finds its spool again."""
    query = database.url.query
    if "host" in query:
        return Path(str(query["host"])) / str(query["options"]).rpartition("=")[2] / "spool"
    return Path(str(database.url.database)).with_name("spool")


class AuditRig:
    """Build it twice on one database to see what a restart does.

    Args:
        shared: whether sealed epochs' files are in the database, as with several auditors.
    """

    def __init__(
        self,
        database: Database,
        chain: ExampleChain | None = None,
        clock: ExampleClock | None = None,
        signer: Keypair = AUDITOR,
        config: ScoringConfig | None = None,
        name: str = "auditor",
        shared: bool = False,
    ) -> None:
        config = config or ScoringConfig()
        self.chain = chain or ExampleChain(subnet())
        self.clock = clock or ExampleClock(block_number(self.chain.height).timestamp_ms)
        self.auditor = ExampleAuditor({CHEAT.ss58_address: "fail"})
        self.requests, self.epochs = RequestState(database), EpochState(database)
        self.weights, self.rounds = WeightQueue(database), RoundState(database)
        self.blocks, self.metagraph = BlockWindow(self.chain), Metagraph(self.chain)
        self.leases = AuditLeases(database)
        self.audits = AuditLoop(
            self.requests,
            self.auditor,
            self.blocks,
            self.metagraph,
            config,
            self.clock,
            self.leases,
            name,
        )
        terms = EpochTerms(NETUID, "tiny", sha256_hex(b"calibration"), EPOCH_SECONDS, config)
        book = RoundBook(self.rounds, ROUND_KEY, config)
        self.spool = Spool(spool_folder(database))
        self.publication = Publication(
            self.spool, self.epochs, self.requests, self.rounds, Troubles(), ["no uploader"], 1.0
        )
        self.loop = EpochLoop(
            terms,
            self.epochs,
            self.requests,
            self.audits,
            self.blocks,
            self.metagraph,
            EpochSealer(
                *(terms, self.epochs, self.requests, book, signer, self.clock), None if shared else self.spool
            ),
            self.clock,
            lambda: 0.5,
            book,
        )
        self.setter = WeightSetter(self.chain, self.weights, signer.ss58_address, NETUID)
        self.loop.ensure_open()
        self._offset = self.requests.cursor("log").offset

    def take(self, records: Sequence[RequestRecord]) -> None:
        """Store records as if they had been read from the log."""
        self._offset += 1
        self.requests.add_records("log", records, Cursor(1, self._offset))

    async def new_block(self, count: int = 1) -> None:
        """Blocks appear, and time passes with them."""
        self.chain.height += count
        self.clock.now_ms = block_number(self.chain.height).timestamp_ms

    async def step(self) -> None:
        """What the process does once a second, and then the audits that it started."""
        await self.audits.step(self.loop.plans())
        await self.audits.join()
        await self.loop.step()

    async def run_epoch(self, records: Sequence[RequestRecord]) -> SealedEpoch:
        """Serve, audit, close and seal one epoch."""
        await self.metagraph.refresh()
        self.take(records)
        current = self.epochs.in_phase("open")
        assert current is not None
        await self.new_block(1 + round(EPOCH_SECONDS / 12))
        for _ in range(60):
            await self.step()
            sealed = self.epochs.sealed()
            if sealed is not None and sealed.number == current.number:
                return sealed
        raise AssertionError("the epoch was not sealed")

    def publish_next(self, store: ObjectStore) -> None:
        """Publish as the process and its uploader do."""
        self.publication.step()
        number = self.spool.waiting()[0]
        publish(store, number, self.spool.files(number))
        self.spool.mark_published(number)
        self.publication.step()
