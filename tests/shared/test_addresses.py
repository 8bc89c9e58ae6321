import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.addresses import base_url, is_callable_address, parse_endpoint
from shared.errors import MalformedMessage

REFUSED = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.3.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "ff02::1",
]


@pytest.mark.parametrize("host", REFUSED)
def test_addresses_inside_somebodys_network_are_refused(host: str) -> None:
    assert not is_callable_address(host, allow_local=False)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700::1111"])
def test_public_addresses_may_be_called(host: str) -> None:
    assert is_callable_address(host, allow_local=False)


@pytest.mark.parametrize("host", [h for h in REFUSED if h not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")])
def test_a_local_network_admits_loopback_and_nothing_else(host: str) -> None:
    assert is_callable_address("127.0.0.1", allow_local=True)
    assert not is_callable_address(host, allow_local=True)


def test_endpoints_are_read_in_both_families() -> None:
    assert parse_endpoint("8.8.8.8:91") == ("8.8.8.8", 91)
    assert parse_endpoint("[2606:4700::1111]:91") == ("2606:4700::1111", 91)
    assert base_url("2606:4700::1111", 91) == "http://[2606:4700::1111]:91"


@pytest.mark.parametrize(
    "text", ["", "8.8.8.8", "8.8.8.8:", "8.8.8.8:0", "8.8.8.8:65536", "host:1", "8.8.8.8:x", "8.8.8.8:-1"]
)
def test_what_is_no_ip_with_a_port_is_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        parse_endpoint(text)


@given(st.text(max_size=40))
def test_noise_is_refused_or_read_never_a_crash(text: str) -> None:
    try:
        host, port = parse_endpoint(text)
    except MalformedMessage:
        return
    assert 0 < port < 65536
    is_callable_address(host, allow_local=False)
