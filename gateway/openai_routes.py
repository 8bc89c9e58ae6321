"""The routes that carry the traffic, on raw ASGI: a framework's route costs 0.1 ms a request."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from starlette.types import Receive, Scope, Send

from gateway.admission import Admission
from gateway.client_connection import ClientWatch, read_body
from gateway.clock import Clock
from gateway.context_check import ContextCheck
from gateway.directed_callers import DirectedCallers
from gateway.dispatch import Dispatcher
from gateway.errors import ApiError, ClientLeft, internal_error, method_not_allowed, shutting_down
from gateway.exchange import (
    MESSAGES_PATH,
    RESPONSES_PATH,
    Exchange,
    MessagesExchange,
    OpenAiExchange,
    ResponsesExchange,
)
from shared.inference_paths import INFERENCE_PATHS

log = logging.getLogger(__name__)


class InferenceRoutes:
    """ASGI application of every path that a miner's answer is served under.

    Attributes:
        paths: those paths.
    """

    def __init__(
        self,
        model: str,
        max_body_bytes: int,
        admission: Admission,
        directed: DirectedCallers,
        context: ContextCheck,
        dispatcher: Dispatcher,
        clock: Clock,
        store_by_default: bool,
    ) -> None:
        self._max_body_bytes = max_body_bytes
        self._admission, self._directed = admission, directed
        self._context, self._dispatcher = context, dispatcher
        self.paths: Mapping[str, Callable[[Send], Exchange]] = {
            **{path: partial(OpenAiExchange, path, model, store_by_default) for path in INFERENCE_PATHS},
            MESSAGES_PATH: partial(MessagesExchange, model, store_by_default),
            RESPONSES_PATH: partial(ResponsesExchange, model, clock, store_by_default),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self.paths[scope["path"]](send)
        exchange.response.write_through(receive)
        try:
            await self._serve(scope, receive, exchange)
        except ApiError as error:
            await exchange.response.send_error(error)
        except ClientLeft as error:
            log.debug("%s", error)
        except asyncio.CancelledError:
            # Only the server cancels here, at its end; this task ends with it either way.
            await exchange.response.send_error(shutting_down())
        except Exception:
            log.exception("serving %s failed", scope["path"])
            await exchange.response.send_error(internal_error())

    async def _serve(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        if scope["method"] != "POST":
            raise method_not_allowed(scope["method"], scope["path"]).with_headers({"allow": "POST"})
        if self._directed.names_miner(scope):
            await self._serve_directed(scope, receive, exchange)
            return
        visit, response = self._admission.admit(scope), exchange.response
        response.extra_headers = visit.headers
        body = await read_body(scope, receive, self._max_body_bytes)
        request = exchange.read(body)
        if self._context.is_needed(request, len(body)):
            await self._context.check(request)
        with visit.reserve(request, len(body)):
            async with ClientWatch(receive, response):
                await self._dispatcher.serve(request, response, visit)

    async def _serve_directed(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        body = await read_body(scope, receive, self._max_body_bytes)
        miner_hotkey = self._directed.miner_named(scope, body)
        request = exchange.read(body)
        visit = self._admission.trust(request)
        async with ClientWatch(receive, exchange.response):
            await self._dispatcher.serve(request, exchange.response, visit, miner_hotkey)
