from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Scope

from miners.admission import Admission
from miners.authentication import Authentication
from miners.front import SERVED, SERVICE, MinerFront
from miners.http_messages import BodyReader
from shared.peer_auth import RequestVerifier
from tests.miners.asgi import Connection, Recorder, call, http_scope, signed_scope
from tests.shared.keys import MINER, VALIDATOR

VLLMS_OTHER_ROUTES = [
    ("POST", "/invocations"),
    ("POST", "/v1/responses"),
    ("POST", "/v1/chat/completions/batch"),
    ("POST", "/inference/v1/generate"),
    ("POST", "/v1/messages"),
    ("POST", "/scale_elastic_ep"),
    ("GET", "/docs"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/chat/completions"),
    ("POST", "/v1/chat/completions/"),
    ("POST", "//v1/completions"),
]


class Marked:
    """Stands for the receipt middleware: counts what passes it."""

    def __init__(self) -> None:
        self.passed: list[str] = []

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def with_receipt(scope: Scope, receive: Any, send: Any) -> None:
            self.passed.append(scope["path"])
            await app(scope, receive, send)

        return with_receipt


class Setup:
    """The front over a recording application."""

    def __init__(self) -> None:
        self.inner, self.receipts = Recorder(), Marked()
        verifier, admission = RequestVerifier(MINER.ss58_address), Admission([VALIDATOR.ss58_address])
        service = SimpleNamespace(
            with_receipts=self.receipts,
            with_authentication=lambda app: Authentication(app, verifier, admission, BodyReader()),
        )
        self._app = SimpleNamespace(state=SimpleNamespace(**{SERVICE: service}))
        self.front = MinerFront(self.inner)

    async def call(self, scope: Scope) -> Connection:
        return await call(self.front, {**scope, "app": self._app})

    async def signed(self, method: str, path: str) -> Connection:
        return await self.call(signed_scope(VALIDATOR, MINER.ss58_address, method, path))


async def test_only_health_is_open_to_strangers() -> None:
    setup = Setup()
    for method, path in [*SERVED, *VLLMS_OTHER_ROUTES, ("HEAD", "/health"), ("POST", "/health")]:
        expected = 200 if (method, path) == ("GET", "/health") else 401
        assert (await setup.call(http_scope(method, path))).status == expected, (method, path)
    assert setup.inner.paths == ["/health"]


async def test_an_authenticated_caller_reaches_what_miners_serve() -> None:
    setup = Setup()
    for method, path in SERVED:
        assert (await setup.signed(method, path)).status == 200
    assert sorted(setup.inner.paths) == sorted(path for _, path in SERVED)


async def test_completions_and_nothing_else_pass_through_receipts() -> None:
    setup = Setup()
    for method, path in SERVED:
        await setup.signed(method, path)
    assert sorted(setup.receipts.passed) == ["/v1/chat/completions", "/v1/completions"]


@pytest.mark.parametrize(("method", "path"), VLLMS_OTHER_ROUTES)
async def test_vllms_other_routes_are_not_served_even_to_validators(method: str, path: str) -> None:
    setup = Setup()
    assert (await setup.signed(method, path)).status == 404
    assert setup.inner.paths == []


async def test_websockets_are_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await MinerFront(Recorder())({"type": "websocket", "path": "/v1/realtime"}, Connection().receive, send)
    assert sent == [{"type": "websocket.close", "code": 1008}]


async def test_the_lifespan_passes() -> None:
    seen: list[str] = []

    async def app(scope: Scope, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await MinerFront(app)({"type": "lifespan"}, Connection().receive, Connection().send)
    assert seen == ["lifespan"]
