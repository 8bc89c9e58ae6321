import orjson
import pytest
from bittensor import http_auth
from starlette.types import Scope

from miners.admission import Admission
from miners.authentication import Authentication
from miners.http_messages import BodyReader
from shared.peer_auth import RequestVerifier
from tests.miners.asgi import Connection, Recorder, call, http_scope, signed_scope
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR

PATH = "/v1/completions"
BODY = b'{"prompt": "x"}'
LISTED = [VALIDATOR.ss58_address]


@pytest.fixture
def inner() -> Recorder:
    return Recorder()


@pytest.fixture
def guarded(inner: Recorder) -> Authentication:
    return Authentication(
        inner, RequestVerifier(MINER.ss58_address), Admission(LISTED), BodyReader(max_body_bytes=1000)
    )


def scope(body: bytes = BODY, receiver: str = MINER.ss58_address) -> Scope:
    return signed_scope(VALIDATOR, receiver, "POST", PATH, body)


def refusal(connection: Connection) -> tuple[int, str]:
    return connection.status, orjson.loads(connection.body)["error"]["code"]


async def test_a_signed_request_passes_with_its_body(guarded: Authentication, inner: Recorder) -> None:
    connection = await call(guarded, scope(), BODY[:4], BODY[4:])
    assert connection.status == 200
    assert inner.bodies == [BODY]


async def test_an_unsigned_request_is_refused_before_its_body_is_read(
    guarded: Authentication, inner: Recorder
) -> None:
    connection = await call(guarded, http_scope("POST", PATH), BODY)
    assert refusal(connection) == (401, "unsigned")
    assert connection.read == 0
    assert connection.headers[b"connection"] == b"close"
    assert inner.bodies == []


async def test_each_missing_header_is_enough_to_be_unsigned(guarded: Authentication) -> None:
    for name in (
        b"x-bittensor-hotkey",
        b"x-bittensor-nonce",
        b"x-bittensor-signature",
        b"x-bittensor-version",
    ):
        partly = scope()
        partly["headers"] = [pair for pair in partly["headers"] if pair[0] != name]
        assert refusal(await call(guarded, partly, BODY)) == (401, "unsigned")


async def test_a_hotkey_without_a_permit_is_refused_before_its_body_is_read(guarded: Authentication) -> None:
    strange = signed_scope(OTHER_MINER, MINER.ss58_address, "POST", PATH, BODY)
    connection = await call(guarded, strange, BODY)
    assert refusal(connection) == (403, "no_permit")
    assert connection.read == 0


async def test_a_request_to_another_miner_is_refused(guarded: Authentication, inner: Recorder) -> None:
    connection = await call(guarded, scope(receiver=OTHER_MINER.ss58_address), BODY)
    assert refusal(connection) == (401, "bad_signature")
    assert inner.bodies == []


async def test_a_tampered_body_is_refused(guarded: Authentication, inner: Recorder) -> None:
    assert refusal(await call(guarded, scope(), BODY + b" ")) == (401, "bad_signature")
    assert inner.bodies == []


async def test_a_signature_for_another_path_method_or_query_is_refused(guarded: Authentication) -> None:
    for changed in ({"path": "/x", "raw_path": b"/x"}, {"method": "PUT"}, {"query_string": b"a=1"}):
        assert refusal(await call(guarded, {**scope(), **changed}, BODY)) == (401, "bad_signature")


async def test_a_replayed_request_is_refused(guarded: Authentication, inner: Recorder) -> None:
    once = scope()
    assert (await call(guarded, once, BODY)).status == 200
    assert refusal(await call(guarded, once, BODY)) == (401, "bad_signature")
    assert len(inner.bodies) == 1


@pytest.mark.parametrize("age_s", [60, -60])
async def test_a_stale_or_future_request_is_refused(guarded: Authentication, age_s: int) -> None:
    import time

    headers = http_auth.sign(
        VALIDATOR,
        method="POST",
        path=PATH,
        body=BODY,
        receiver_ss58=MINER.ss58_address,
        nonce_ns=time.time_ns() - age_s * 10**9,
    )
    assert refusal(await call(guarded, http_scope("POST", PATH, headers), BODY)) == (401, "bad_signature")


async def test_another_keys_signature_under_an_admitted_name_is_refused(guarded: Authentication) -> None:
    forged = signed_scope(OTHER_MINER, MINER.ss58_address, "POST", PATH, BODY)
    forged["headers"] = [
        (name, VALIDATOR.ss58_address.encode() if name == b"x-bittensor-hotkey" else value)
        for name, value in forged["headers"]
    ]
    assert refusal(await call(guarded, forged, BODY)) == (401, "bad_signature")


@pytest.mark.parametrize("value", ["", "nonsense", "0x00", "9" * 5000, "\u00ff"])
@pytest.mark.parametrize("name", ["x-bittensor-nonce", "x-bittensor-signature", "x-bittensor-version"])
async def test_malformed_headers_are_refused_and_never_a_crash(
    guarded: Authentication, name: str, value: str
) -> None:
    bad = scope()
    bad["headers"] = [
        (key, value.encode("latin-1") if key == name.encode() else old) for key, old in bad["headers"]
    ]
    assert refusal(await call(guarded, bad, BODY))[0] == 401


async def test_a_signed_body_over_the_bound_is_refused(guarded: Authentication) -> None:
    large = b"x" * 1001
    assert refusal(await call(guarded, scope(large), large)) == (413, "body_too_large")
