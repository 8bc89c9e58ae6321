"""Builds the watchtower from its settings and runs it."""

import asyncio
import logging

from shared.alert_webhook import Sender, alerting
from shared.chain import SubtensorChain, check_network
from shared.errors import ConfigError, ModelError
from shared.object_store import open_reader
from shared.wallets import load_wallet
from validator.clock import unix_ms
from validator.database import Database, sqlite_url
from validator.heartbeat import HeartbeatFile
from validator.known_calibration import KnownCalibration, known_calibration
from validator.supervision import stop_on_signals
from validator.watchtower_config import WatchtowerConfig, source_of
from validator.watchtower_process import Watchtower
from validator.watchtower_reaudits import watchtower_reaudits

log = logging.getLogger(__name__)


def run(config: WatchtowerConfig) -> int:
    """Run until a signal, or once; gives the exit status.

    Raises:
        ConfigError: network, wallet, source, calibration or state can't be had.
    """
    check_network(config.network)
    wallet = load_wallet(config.wallet, config.hotkey, config.wallet_path)
    reader = open_reader(source_of(config), config.store_endpoint, config.store_region)
    calibration, reaudits = _calibration(config), watchtower_reaudits(config, reader)
    database = Database(sqlite_url(config.state_dir.expanduser() / "watchtower.sqlite"))

    async def follow() -> int:
        chain = SubtensorChain(config.network, config.netuid, wallet)
        hotkey = wallet.hotkey.ss58_address
        tower = Watchtower(config, reader, chain, hotkey, database, unix_ms, calibration, reaudits)
        try:
            if config.once:
                return await tower.once()
            stop = asyncio.Event()
            stop_on_signals(stop)
            tower.heartbeat = _heartbeat(config)
            log.info("watchtower %s: follows %s", config.revision or "of no named revision", config.source)
            sender = Sender("watchtower", hotkey)
            async with alerting(config.alert_webhook, sender, tower.troubles.all):
                return 0 if await tower.run(stop) else 1
        finally:
            await chain.close()
            database.close()

    return asyncio.run(follow())


def _heartbeat(config: WatchtowerConfig) -> HeartbeatFile:
    return HeartbeatFile(config.state_dir, source_of(config), config.poll_seconds, unix_ms, config.revision)


def _calibration(config: WatchtowerConfig) -> KnownCalibration | None:
    if config.calibration is None:
        return None
    try:
        return known_calibration(config.calibration, config.state_dir)
    except ModelError as error:
        raise ConfigError(str(error)) from None
