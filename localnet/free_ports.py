"""Ports that were asked for as 0: the system chooses."""

import dataclasses
import socket
from contextlib import ExitStack

from localnet.config import PORT_STRIDE, LocalnetConfig

_ATTEMPTS = 50


def with_ports_chosen(config: LocalnetConfig) -> LocalnetConfig:
    """The same settings with every port of 0 replaced by one that is free now.

    The miners' ports follow each other, so `miner_port` is the first of a free run.
    """
    return dataclasses.replace(
        config,
        port=config.port or _free_run(config.gateways, PORT_STRIDE),
        auditor_port=config.auditor_port or _free_run(config.auditors, PORT_STRIDE),
        chain_port=config.chain_port or _free_run(1),
        miner_port=config.miner_port or _free_run(len(config.miners)),
    )


def _free_run(length: int, stride: int = 1) -> int:
    for _ in range(_ATTEMPTS):
        with ExitStack() as held:
            first = held.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            start: int = first.getsockname()[1]
            try:
                for port in range(start + stride, start + stride * length, stride):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except (OSError, OverflowError):
                continue
            return start
    raise OSError(f"no run of {length} free ports was found on 127.0.0.1")
