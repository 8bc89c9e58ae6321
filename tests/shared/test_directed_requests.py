import pytest

from shared.directed_requests import MINER_HEADER, direct_request, directed_sender
from shared.errors import MalformedMessage, SignatureMismatch
from shared.peer_auth import RequestVerifier, sign_request
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR

PATH = "/v1/chat/completions"
BODY = b'{"messages":[]}'
GATEWAY = OTHER_MINER.ss58_address


def lowered(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def signed(body: bytes = BODY, path: str = PATH, gateway: str = GATEWAY) -> dict[str, str]:
    return lowered(direct_request(VALIDATOR, path, body, gateway, MINER.ss58_address))


def test_the_sender_and_the_named_miner_are_told() -> None:
    sender = directed_sender(RequestVerifier(GATEWAY), signed(), PATH, BODY)
    assert sender == (VALIDATOR.ss58_address, MINER.ss58_address)


def test_another_miners_name_does_not_fit_the_signature() -> None:
    headers = signed() | {MINER_HEADER: OTHER_MINER.ss58_address}
    with pytest.raises(SignatureMismatch):
        directed_sender(RequestVerifier(GATEWAY), headers, PATH, BODY)


@pytest.mark.parametrize(("path", "body"), [("/v1/completions", BODY), (PATH, b"{}")])
def test_another_path_or_body_does_not_fit_the_signature(path: str, body: bytes) -> None:
    with pytest.raises(SignatureMismatch):
        directed_sender(RequestVerifier(GATEWAY), signed(), path, body)


def test_an_ordinary_signature_over_path_and_body_chooses_no_miner() -> None:
    headers = lowered(sign_request(VALIDATOR, "POST", PATH, BODY, GATEWAY))
    headers[MINER_HEADER] = MINER.ss58_address
    with pytest.raises(SignatureMismatch):
        directed_sender(RequestVerifier(GATEWAY), headers, PATH, BODY)


def test_a_request_to_another_gateway_is_refused() -> None:
    with pytest.raises(SignatureMismatch):
        directed_sender(RequestVerifier(GATEWAY), signed(gateway=MINER.ss58_address), PATH, BODY)


def test_a_request_is_accepted_once() -> None:
    verifier, headers = RequestVerifier(GATEWAY), signed()
    directed_sender(verifier, headers, PATH, BODY)
    with pytest.raises(SignatureMismatch):
        directed_sender(verifier, headers, PATH, BODY)


def test_a_request_that_names_no_miner_is_malformed() -> None:
    headers = signed()
    del headers[MINER_HEADER]
    with pytest.raises(MalformedMessage):
        directed_sender(RequestVerifier(GATEWAY), headers, PATH, BODY)
