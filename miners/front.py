"""The outermost ASGI layer of the miner's server, which vLLM loads by name (`--middleware`)."""

from starlette.types import ASGIApp, Receive, Scope, Send

from miners.errors import RequestRefused
from miners.http_messages import send_refusal
from shared.challenges import CHALLENGE_PATH
from shared.inference_paths import INFERENCE_PATHS

SERVICE = "constantinople"
"""Attribute of the application's state that holds the `MinerService`."""

HEALTH_PATH = "/health"

SERVED = frozenset(
    {
        *(("POST", path) for path in INFERENCE_PATHS),
        ("POST", CHALLENGE_PATH),
        ("GET", HEALTH_PATH),
        ("GET", "/v1/models"),
        ("GET", "/version"),
        ("GET", "/metrics"),
        ("POST", "/tokenize"),
        ("POST", "/detokenize"),
    }
)
"""All that a miner answers. vLLM has more routes that generate without a receipt (`/invocations`,
`/v1/responses`), or control the server (`/pause`, `/load_lora_adapter`)."""

_POLICY_VIOLATION = 1008
"""WebSocket close code; before the handshake it becomes HTTP 403."""


class MinerFront:
    """Only `/health` is open; everything else is authenticated, and completions carry receipts."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._authenticated: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and _is_health(scope)):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._guarded(scope)(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})

    def _guarded(self, scope: Scope) -> ASGIApp:
        if self._authenticated is None:
            service = getattr(scope["app"].state, SERVICE)
            routes = _Routes(self._app, service.with_receipts(self._app))
            self._authenticated = service.with_authentication(routes)
        assert self._authenticated is not None
        return self._authenticated


class _Routes:
    """What an authenticated caller may reach."""

    def __init__(self, app: ASGIApp, completions: ASGIApp) -> None:
        self._app, self._completions = app, completions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        if (method, path) not in SERVED:
            await send_refusal(send, RequestRefused(404, f"miners don't serve {method} {path}", "not_found"))
        elif path in INFERENCE_PATHS:
            await self._completions(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_health(scope: Scope) -> bool:
    return (scope["method"], scope["path"]) == ("GET", HEALTH_PATH)
