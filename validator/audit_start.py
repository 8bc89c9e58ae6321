"""Builds the audit validator from its settings and runs it."""

import asyncio
import logging
import socket
from typing import Any

from shared.alert_webhook import Sender, alerting
from shared.chain import SubtensorChain, check_network
from shared.diagnosis_http import ask_health
from shared.errors import ConfigError, ModelError
from shared.machine_facts import callable_host
from shared.model_identity import public_model_name
from shared.service_notify import heartbeat
from shared.wallets import load_wallet
from validator.audit_config import AuditConfig
from validator.audit_process import AuditValidator, open_database
from validator.clock import unix_ms
from validator.status_server import listen
from validator.supervision import stop_on_signals
from validator.surroundings import Surroundings

log = logging.getLogger(__name__)


def run(config: AuditConfig) -> int:
    """Run until a signal; gives the exit status, 1 when a part failed.

    Raises:
        ConfigError: network, wallet, port, database, model, calibration or store can't be had.
    """
    check_network(config.network)
    wallet = load_wallet(config.wallet, config.hotkey, config.wallet_path)
    with listen(config.host, config.port) as listener:
        try:
            return asyncio.run(_run(config, wallet, listener))
        except ModelError as error:
            raise ConfigError(str(error)) from None


async def _run(config: AuditConfig, wallet: Any, listener: socket.socket) -> int:
    # torch and transformers take seconds: flags, wallet and port have been checked by now.
    from validator.reference_audits import reference_auditor

    stop = asyncio.Event()
    stop_on_signals(stop)
    model = config.served_model_name or public_model_name(config.model)
    chain = SubtensorChain(config.network, config.netuid, wallet)
    database = open_database(config)
    try:
        async with reference_auditor(config, wallet.hotkey, chain, model) as (auditor, calibration):
            around = Surroundings(wallet.hotkey, chain, auditor, model, calibration, unix_ms)
            validator = AuditValidator(config, around, database)
            sender = Sender("auditor", wallet.hotkey.ss58_address)
            host, port = listener.getsockname()[:2]
            log.info("the audit validator listens on %s port %d", host, port)

            async def answers() -> bool:
                return (await ask_health(callable_host(host), port)).body is not None

            async with alerting(config.alert_webhook, sender, validator.troubles.all), heartbeat(answers):
                clean = await validator.run(stop, listener)
    finally:
        await chain.close()
        database.close()
    log.info("the audit validator has stopped")
    return 0 if clean else 1
