import asyncio

import orjson
import pytest
from starlette.types import Message

from miners.errors import RequestRefused
from miners.http_messages import BodyReader, request_target, send_refusal, with_body
from tests.miners.asgi import Connection, http_scope

SCOPE = http_scope("POST", "/v1/completions")


def reader(max_body_bytes: int = 10, max_total_bytes: int = 25, deadline_s: float = 5.0) -> BodyReader:
    return BodyReader(max_body_bytes, max_total_bytes, deadline_s)


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await reader().read(SCOPE, Connection((b"abc", b"", b"def")).receive) == b"abcdef"


async def test_a_declared_length_over_the_bound_is_refused_unread() -> None:
    connection = Connection((b"abc",))
    with pytest.raises(RequestRefused, match="larger than 10 bytes") as refused:
        await reader().read(http_scope("POST", "/", {"content-length": "11"}), connection.receive)
    assert refused.value.status == 413
    assert connection.read == 0


async def test_a_body_that_grows_over_the_bound_is_refused_on_the_way() -> None:
    connection = Connection((b"123456",) * 5)
    with pytest.raises(RequestRefused) as refused:
        await reader().read(http_scope("POST", "/", {"content-length": "lies"}), connection.receive)
    assert (refused.value.status, connection.read) == (413, 2)


async def test_a_client_that_leaves_is_noticed() -> None:
    connection = Connection(())
    with pytest.raises(RequestRefused, match="broke off"):
        await reader().read(SCOPE, connection.receive)


async def test_a_body_that_does_not_come_is_refused_in_time() -> None:
    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(RequestRefused) as refused:
        await reader(deadline_s=0.01).read(SCOPE, never)
    assert refused.value.status == 408


async def test_bodies_together_are_bounded_and_room_comes_back() -> None:
    bodies = reader(max_body_bytes=10, max_total_bytes=15)
    resume = asyncio.Event()
    pieces = [b"0123456789", b""]

    async def slow() -> Message:
        if len(pieces) == 1:
            await resume.wait()
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    waiting = asyncio.create_task(bodies.read(SCOPE, slow))
    await asyncio.sleep(0)
    with pytest.raises(RequestRefused) as refused:
        await bodies.read(SCOPE, Connection((b"0123456789",)).receive)
    assert refused.value.status == 503
    resume.set()
    assert await waiting == b"0123456789"
    assert await bodies.read(SCOPE, Connection((b"0123456789",)).receive) == b"0123456789"


async def test_a_read_body_is_given_once_and_then_the_connection_speaks() -> None:
    receive = with_body(b"body", Connection(()).receive)
    assert await receive() == {"type": "http.request", "body": b"body", "more_body": False}
    assert await receive() == {"type": "http.disconnect"}


@pytest.mark.parametrize(("query", "target"), [(b"", "/v1/a%20b"), (b"x=1&y=%2F", "/v1/a%20b?x=1&y=%2F")])
def test_the_target_is_as_it_was_sent(query: bytes, target: str) -> None:
    assert request_target(http_scope("GET", "/v1/a%20b", query=query)) == target


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (429, "rate_limit_error"),
        (503, "server_error"),
    ],
)
async def test_refusals_have_openais_form(status: int, kind: str) -> None:
    connection = Connection()
    await send_refusal(connection.send, RequestRefused(status, "words", "some_code"))
    assert connection.status == status
    assert orjson.loads(connection.body) == {"error": {"message": "words", "type": kind, "code": "some_code"}}
    assert b"connection" not in connection.headers


async def test_a_connection_with_an_unread_body_is_closed() -> None:
    connection = Connection()
    await send_refusal(connection.send, RequestRefused(401, "words", "code", unread=True))
    assert connection.headers[b"connection"] == b"close"
