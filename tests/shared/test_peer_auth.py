import pytest
from bittensor import http_auth

from shared.errors import SignatureMismatch
from shared.peer_auth import RequestVerifier, sign_request
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR

BODY = b'{"form":"open"}'


def signed() -> dict[str, str]:
    return sign_request(VALIDATOR, "POST", "/hidden_state", BODY, MINER.ss58_address)


def test_a_signed_request_names_its_sender() -> None:
    verifier = RequestVerifier(MINER.ss58_address)
    assert verifier.sender(signed(), "POST", "/hidden_state", BODY) == VALIDATOR.ss58_address


def test_the_same_request_is_not_accepted_twice() -> None:
    verifier, headers = RequestVerifier(MINER.ss58_address), signed()
    verifier.sender(headers, "POST", "/hidden_state", BODY)
    with pytest.raises(SignatureMismatch):
        verifier.sender(headers, "POST", "/hidden_state", BODY)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/hidden_state", BODY),
        ("POST", "/v1/models", BODY),
        ("POST", "/hidden_state", BODY + b" "),
    ],
)
def test_a_request_changed_on_its_way_is_refused(method: str, path: str, body: bytes) -> None:
    with pytest.raises(SignatureMismatch):
        RequestVerifier(MINER.ss58_address).sender(signed(), method, path, body)


def test_a_request_for_somebody_else_is_refused() -> None:
    with pytest.raises(SignatureMismatch):
        RequestVerifier(OTHER_MINER.ss58_address).sender(signed(), "POST", "/hidden_state", BODY)


def test_an_unsigned_request_is_refused() -> None:
    with pytest.raises(SignatureMismatch):
        RequestVerifier(MINER.ss58_address).sender({}, "POST", "/hidden_state", BODY)


@pytest.mark.parametrize("header", sorted(signed()))
@pytest.mark.parametrize("value", ["", "0", "0x", "5" * 48, "é"])
def test_a_damaged_header_is_refused_and_never_a_crash(header: str, value: str) -> None:
    headers = signed() | {header: value}
    with pytest.raises(SignatureMismatch):
        RequestVerifier(MINER.ss58_address).sender(headers, "POST", "/hidden_state", BODY)


def test_the_headers_are_those_of_the_sdk() -> None:
    of_the_sdk = http_auth.sign(
        VALIDATOR, method="POST", path="/hidden_state", body=BODY, receiver_ss58=MINER.ss58_address
    )
    varying = {http_auth.HEADER_NONCE, http_auth.HEADER_SIGNATURE}
    assert signed().keys() == of_the_sdk.keys()
    assert {name: signed()[name] for name in signed().keys() - varying} == {
        name: of_the_sdk[name] for name in of_the_sdk.keys() - varying
    }
