"""GET /ready and GET /metrics, for load balancers and Prometheus; all else goes on to the application."""

from collections.abc import Sequence

import orjson
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.client_connection import Response
from gateway.errors import (
    ApiError,
    method_not_allowed,
    metrics_elsewhere,
    metrics_not_for_strangers,
    no_route,
)
from gateway.exposition import Exposition, Network, may_read
from gateway.health import Readiness
from gateway.metrics import Metrics

READY_PATH = "/ready"
METRICS_PATH = "/metrics"
OPERATION_PATHS = frozenset({READY_PATH, METRICS_PATH})


class MetricsRoute:
    """ASGI application of GET /metrics."""

    def __init__(self, metrics: Metrics, exposition: Exposition, networks: Sequence[Network]) -> None:
        self._metrics, self._exposition, self._networks = metrics, exposition, networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(send)
        try:
            self._check(scope)
        except ApiError as error:
            await response.send_error(error)
            return
        self._metrics.refresh()
        await response.send_text(200, self._exposition.text(), CONTENT_TYPE_PLAIN_0_0_4)

    def _check(self, scope: Scope) -> None:
        if scope["path"] != METRICS_PATH:
            raise no_route(scope["path"])
        _only_get(scope)
        if not may_read(scope, self._networks):
            raise metrics_not_for_strangers()


class OperationRoutes:
    """An ASGI application before another.

    Args:
        metrics: None when they are served on a port of their own.
    """

    def __init__(self, app: ASGIApp, readiness: Readiness, metrics: ASGIApp | None) -> None:
        self._app, self._readiness, self._metrics = app, readiness, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in OPERATION_PATHS:
            await self._app(scope, receive, send)
        elif scope["path"] == READY_PATH:
            await self._ready(scope, Response(send))
        elif self._metrics is not None:
            await self._metrics(scope, receive, send)
        else:
            await Response(send).send_error(metrics_elsewhere())

    async def _ready(self, scope: Scope, response: Response) -> None:
        try:
            _only_get(scope)
        except ApiError as error:
            await response.send_error(error)
            return
        reasons = self._readiness.reasons()
        body = orjson.dumps({"ready": not reasons, "reasons": reasons})
        await response.send_json(503 if reasons else 200, body, {})


def _only_get(scope: Scope) -> None:
    if scope["method"] != "GET":
        raise method_not_allowed(scope["method"], scope["path"]).with_headers({"allow": "GET"})
