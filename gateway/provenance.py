"""The gateway's parts that trace answers and show what is published, put together: index, published epochs,
standings, lookup, public read."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from gateway.clock import Clock
from gateway.config import GatewayConfig
from gateway.dataset_answers import FILES_PATH
from gateway.dataset_files import DatasetFiles
from gateway.dataset_objects import DatasetObjects
from gateway.dataset_routes import PublicDataset
from gateway.dataset_store import DatasetStore
from gateway.epoch_follower import EpochFollower, Publishes
from gateway.epoch_store import EpochStore
from gateway.published_epochs import PublishedEpochs
from gateway.published_tables import load_reader
from gateway.receipt_database import open_receipt_database
from gateway.receipt_lookup import ReceiptLookup
from gateway.record_index import RecordIndex
from gateway.standings import Standings
from gateway.subnet_hotkeys import SubnetHotkeys
from shared.database import Database
from shared.object_store import ObjectReader, open_reader
from shared.record_folders import records_folder
from shared.record_log import RecordReader


@dataclass(frozen=True)
class Provenance:
    """What traces answers; `standings` is for routing, empty while no epochs are followed.

    `follower` and `dataset` are None when the gateway was not told where epochs are published.
    """

    index: RecordIndex
    lookup: ReceiptLookup
    standings: Standings
    follower: EpochFollower | None
    dataset: PublicDataset | None
    _database: Database

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run in the background."""
        return [self.index.run(), *([self.follower.run()] if self.follower else [])]

    def close(self) -> None:
        """End the threads that read the dataset, and close the database."""
        if self.dataset is not None:
            self.dataset.files.close()
        self._database.close()


def open_provenance(
    config: GatewayConfig, gateway_hotkey: str, hotkeys: SubnetHotkeys, clock: Clock, worker: int | None
) -> Provenance:
    """Open what the flags ask for. Blocks.

    Args:
        worker: which worker of the gateway this process is; None when it is the only one.

    Raises:
        ConfigError: the state folder can't be written, or --store is no store.
    """
    reader = open_reader(config.store, config.store_endpoint, config.store_region) if config.store else None
    database = open_receipt_database(config.state_dir)
    index, epochs, standings = (
        RecordIndex(database, RecordReader(records_folder(config.state_dir)), worker),
        EpochStore(database),
        Standings(),
    )
    follower, dataset = None, None
    if reader is not None:
        load_reader()
        publishes = _publishes(config.publisher, gateway_hotkey, hotkeys)
        follower = EpochFollower(
            PublishedEpochs(reader, config.netuid),
            epochs,
            standings,
            gateway_hotkey,
            publishes,
            config.store_seconds,
        )
        follower.restore()
        dataset = _dataset(config, reader, database, follower, clock)
    lookup = ReceiptLookup(index, epochs, follower, clock)
    return Provenance(index, lookup, standings, follower, dataset, database)


def _dataset(
    config: GatewayConfig, reader: ObjectReader, database: Database, follower: EpochFollower, clock: Clock
) -> PublicDataset:
    store, url = DatasetStore(database), config.store_public_url
    files = DatasetFiles(DatasetObjects(reader, store, clock), url, clock)
    place = url.rstrip("/") if url else FILES_PATH
    return PublicDataset(store, files, place, config.store_by_default, lambda: follower.trouble, clock)


def _publishes(publisher: str | None, gateway_hotkey: str, hotkeys: SubnetHotkeys) -> Publishes:
    """The named publisher alone; without one the gateway's own hotkey and every validator of the subnet."""

    async def publishes(hotkey: str) -> bool:
        if publisher is not None:
            return hotkey == publisher
        return hotkey == gateway_hotkey or await hotkeys.holds_permit(hotkey)

    return publishes
