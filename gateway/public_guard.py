"""How much of the public dataset may be read, decided before anything is done for a request.

Each address has its limit, and all together have one a second, above which readers are refused and inference
goes on undisturbed. A refusal costs 35 µs of one core, an answer that is kept in memory 0.2 ms, and one that
is looked up, or a file's first piece, 0.7 ms (`python -m bench.public_reads`).
"""

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.address_limits import AddressLimits
from gateway.clock import Clock
from gateway.dataset_refusals import dataset_overloaded
from gateway.errors import ApiError
from gateway.token_bucket import TokenBucket

READS_PER_MINUTE = 3000
"""Of one address (IPv6: of its /64): 250 epochs of a dozen objects at once, then four a second."""

READS_A_SECOND = 200
"""Of everybody together, in each process: at most some 15 % of one core."""

GUARDED = ("/v1/dataset", "/v1/epochs", "/v1/scoreboard", "/v1/miners")


class PublicGuard:
    """An ASGI application before another."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app, self._clock = app, clock
        self._addresses = AddressLimits(READS_PER_MINUTE, clock)
        self._all = TokenBucket(READS_A_SECOND, clock.monotonic_s(), span_s=1.0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(GUARDED):
            try:
                self._addresses.take(scope)
                if not self._all.take(1, self._clock.monotonic_s()):
                    raise dataset_overloaded()
            except ApiError as error:
                refusal = Response(error.body(), error.status, error.headers, "application/json")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)
