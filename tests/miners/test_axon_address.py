import pytest

from miners.axon_address import (
    AddressSources,
    AxonAddress,
    address_of_name,
    axon_address,
    default_route_address,
)
from miners.config import MinerConfig
from shared.addresses import parse_endpoint
from shared.errors import ConfigError

LOCAL = "ws://127.0.0.1:9944"


def own(address: str | None) -> AddressSources:
    """A machine whose own address this is, and which resolves no names."""
    return AddressSources(lambda: address, lambda name: None)


def test_a_local_network_gets_loopback() -> None:
    config = MinerConfig(model="m", network=LOCAL, port=8091)
    assert axon_address(config, own("10.0.0.5")) == AxonAddress("127.0.0.1", 8091)


def test_another_network_gets_this_machines_public_address() -> None:
    assert axon_address(MinerConfig(model="m", port=8091), own("8.8.4.4")).text == "8.8.4.4:8091"


@pytest.mark.parametrize("address", ["10.0.0.5", "192.168.1.7", "127.0.0.1", "169.254.169.254", None])
def test_a_machine_behind_a_router_must_name_its_public_address(address: str | None) -> None:
    with pytest.raises(ConfigError, match="--axon-ip"):
        axon_address(MinerConfig(model="m"), own(address))


def test_named_addresses_and_ports_are_taken_as_they_are() -> None:
    config = MinerConfig(model="m", port=8091, axon_ip="1.2.3.4", axon_port=40001)
    assert axon_address(config, own(None)) == AxonAddress("1.2.3.4", 40001)


def test_the_text_is_what_gateways_parse() -> None:
    for address in (AxonAddress("1.2.3.4", 8091), AxonAddress("2001:db8::1", 8091)):
        assert parse_endpoint(address.text) == (address.ip, address.port)


def test_the_default_routes_address_is_found_without_sending_anything() -> None:
    found = default_route_address()
    assert found is None or found.count(".") == 3


def test_a_name_is_asked_for_its_address_each_time() -> None:
    addresses = iter(["8.8.4.4", "1.1.1.1"])
    sources = AddressSources(lambda: None, lambda name: next(addresses))
    config = MinerConfig(model="m", port=8091, axon_ip="miner.example")
    assert [axon_address(config, sources).ip for _ in range(2)] == ["8.8.4.4", "1.1.1.1"]


@pytest.mark.parametrize("found", ["10.0.0.5", "127.0.0.1", None])
def test_a_name_that_leads_nowhere_public_is_refused_with_what_it_leads_to(found: str | None) -> None:
    config = MinerConfig(model="m", axon_ip="miner.example")
    with pytest.raises(ConfigError, match=f"miner.example leads to {found or 'no address'}"):
        axon_address(config, AddressSources(lambda: "8.8.4.4", lambda name: found))


def test_the_resolver_is_asked_and_may_have_no_answer() -> None:
    assert address_of_name("localhost") in ("127.0.0.1", "::1")
    assert address_of_name("no-such-host.invalid") is None
