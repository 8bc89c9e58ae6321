"""Where a miner's metrics are read: beside vLLM's own, and on a port of this machine alone."""

import logging

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
"""Strangers must not reach it: metrics tell competitors a miner's load."""


def show_metrics(metrics: Collector, port: int | None, registry: CollectorRegistry = REGISTRY) -> int | None:
    """Have vLLM's `GET /metrics` show the miner's series too, and serve both on `port`, if there is one.

    Returns the port that is listened on. One that can't be had is an error in the log: a miner that serves
    without being watched earns more than one that doesn't serve.
    """
    registry.register(metrics)
    if port is None:
        return None
    try:
        server, _ = start_http_server(port, HOST, registry)
    except OSError as error:
        log.error(
            "metrics can't be served on port %d: %s; choose another --metrics-port", port, error.strerror
        )
        return None
    log.info("metrics are served on %s port %d", HOST, server.server_port)
    return int(server.server_port)
