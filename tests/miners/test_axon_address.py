import pytest

from miners.axon_address import AxonAddress, axon_address, default_route_address
from miners.config import MinerConfig
from shared.addresses import parse_endpoint
from shared.errors import ConfigError

LOCAL = "ws://127.0.0.1:9944"


def test_a_local_network_gets_loopback() -> None:
    config = MinerConfig(model="m", network=LOCAL, port=8091)
    assert axon_address(config, lambda: "10.0.0.5") == AxonAddress("127.0.0.1", 8091)


def test_another_network_gets_this_machines_public_address() -> None:
    assert axon_address(MinerConfig(model="m", port=8091), lambda: "8.8.4.4").text == "8.8.4.4:8091"


@pytest.mark.parametrize("own", ["10.0.0.5", "192.168.1.7", "127.0.0.1", "169.254.169.254", None])
def test_a_machine_behind_a_router_must_name_its_public_address(own: str | None) -> None:
    with pytest.raises(ConfigError, match="--axon-ip"):
        axon_address(MinerConfig(model="m"), lambda: own)


def test_named_addresses_and_ports_are_taken_as_they_are() -> None:
    config = MinerConfig(model="m", port=8091, axon_ip="1.2.3.4", axon_port=40001)
    assert axon_address(config, lambda: None) == AxonAddress("1.2.3.4", 40001)


def test_the_text_is_what_gateways_parse() -> None:
    for address in (AxonAddress("1.2.3.4", 8091), AxonAddress("2001:db8::1", 8091)):
        assert parse_endpoint(address.text) == (address.ip, address.port)


def test_the_default_routes_address_is_found_without_sending_anything() -> None:
    found = default_route_address()
    assert found is None or found.count(".") == 3
