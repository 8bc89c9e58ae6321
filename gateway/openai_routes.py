"""The two routes that carry the traffic, on raw ASGI: a framework's route costs 0.1 ms a request."""

import asyncio
import logging

from starlette.types import Receive, Scope, Send

from gateway.admission import Admission
from gateway.client_connection import ClientWatch, Response, read_body
from gateway.client_request import parse_client_request
from gateway.directed_callers import DirectedCallers
from gateway.dispatch import Dispatcher
from gateway.errors import ApiError, ClientLeft, internal_error, method_not_allowed, shutting_down

log = logging.getLogger(__name__)


class InferenceRoutes:
    """ASGI application of POST /v1/chat/completions and POST /v1/completions."""

    def __init__(
        self,
        model: str,
        max_body_bytes: int,
        admission: Admission,
        directed: DirectedCallers,
        dispatcher: Dispatcher,
    ) -> None:
        self._model, self._max_body_bytes = model, max_body_bytes
        self._admission, self._directed, self._dispatcher = admission, directed, dispatcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = Response(send)
        try:
            await self._serve(scope, receive, response)
        except ApiError as error:
            await response.send_error(error)
        except ClientLeft as error:
            log.debug("%s", error)
        except asyncio.CancelledError:
            # Only the server cancels here, at its end; this task ends with it either way.
            await response.send_error(shutting_down())
        except Exception:
            log.exception("serving %s failed", scope["path"])
            await response.send_error(internal_error())

    async def _serve(self, scope: Scope, receive: Receive, response: Response) -> None:
        if scope["method"] != "POST":
            raise method_not_allowed(scope["method"], scope["path"]).with_headers({"allow": "POST"})
        if self._directed.names_miner(scope):
            await self._serve_directed(scope, receive, response)
            return
        visit = self._admission.admit(scope)
        response.extra_headers = visit.headers
        body = await read_body(scope, receive, self._max_body_bytes)
        request = parse_client_request(scope["path"], body, self._model)
        with visit.reserve(request, len(body)):
            async with ClientWatch(receive, response):
                await self._dispatcher.serve(request, response, visit)

    async def _serve_directed(self, scope: Scope, receive: Receive, response: Response) -> None:
        body = await read_body(scope, receive, self._max_body_bytes)
        miner_hotkey = self._directed.miner_named(scope, body)
        request = parse_client_request(scope["path"], body, self._model)
        visit = self._admission.trust(request)
        async with ClientWatch(receive, response):
            await self._dispatcher.serve(request, response, visit, miner_hotkey)
