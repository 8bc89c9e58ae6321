"""The two routes that carry the traffic, on raw ASGI: a framework's route costs 0.1 ms a request."""

import asyncio
import logging

from starlette.types import Receive, Scope, Send

from gateway.client_connection import ClientWatch, Response, read_body
from gateway.client_request import CHAT_PATH, COMPLETIONS_PATH, parse_client_request
from gateway.directed_callers import DirectedCallers
from gateway.dispatch import Dispatcher
from gateway.errors import ApiError, ClientLeft, internal_error, method_not_allowed, shutting_down

log = logging.getLogger(__name__)

INFERENCE_PATHS = frozenset({CHAT_PATH, COMPLETIONS_PATH})


class InferenceRoutes:
    """ASGI application of POST /v1/chat/completions and POST /v1/completions."""

    def __init__(
        self, model: str, max_body_bytes: int, directed: DirectedCallers, dispatcher: Dispatcher
    ) -> None:
        self._model, self._max_body_bytes = model, max_body_bytes
        self._directed, self._dispatcher = directed, dispatcher

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
        body = await read_body(scope, receive, self._max_body_bytes)
        miner_hotkey = self._directed.miner_named(scope, body)
        request = parse_client_request(scope["path"], body, self._model)
        async with ClientWatch(receive, response):
            await self._dispatcher.serve(request, response, miner_hotkey)
