"""A port of their own for the metrics, where the operator wants one."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from gateway.exposition import shared_folder
from gateway.http_server import ConnectionLimits, build_server, listen

log = logging.getLogger(__name__)

LIMITS = ConnectionLimits(connections=64)
"""A few Prometheus servers, and people with curl."""


@asynccontextmanager
async def metrics_port(host: str, port: int | None, app: ASGIApp) -> AsyncIterator[None]:
    """Serve `app` beside the block, if there is a port; it ends last, so that a drain can be watched.

    The workers of one gateway share it: whoever is asked knows of all.

    Raises:
        ConfigError: the port can't be had.
    """
    if port is None:
        yield
        return
    with listen(host, port, shared=shared_folder() is not None) as listener:
        server = build_server(app, LIMITS, shutdown_seconds=0)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        log.info("metrics are served on port %d", listener.getsockname()[1])
        try:
            yield
        finally:
            server.cut()
            await serving
