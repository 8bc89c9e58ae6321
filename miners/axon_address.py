"""The address that a miner publishes on chain, at which gateways call it."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address

from miners.config import MinerConfig
from shared.addresses import host_and_port, is_callable_address
from shared.chain import is_local_network
from shared.errors import ConfigError

LOOPBACK = "127.0.0.1"

_ROUTED_ELSEWHERE = ("192.0.2.1", 9)
"""TEST-NET-1 (RFC 5737): belongs to nobody, so that the default route is what leads to it."""


@dataclass(frozen=True)
class AxonAddress:
    """IP address and port; `text` is how the metagraph shows it."""

    ip: str
    port: int

    @property
    def text(self) -> str:
        """As `Neuron.axon` gives it."""
        return host_and_port(self.ip, self.port)


def default_route_address() -> str | None:
    """This machine's address on its default route; None without one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_ROUTED_ELSEWHERE)
        except OSError:
            return None
        return str(probe.getsockname()[0])


def address_of_name(name: str) -> str | None:
    """The first address that a host name leads to; None when it leads nowhere now. Waits for the resolver."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return None
    return str(found[0][4][0]) if found else None


@dataclass(frozen=True)
class AddressSources:
    """Where this machine's address is learnt, so that tests say what it is."""

    own: Callable[[], str | None] = default_route_address
    named: Callable[[str], str | None] = address_of_name


_SOURCES = AddressSources()


def axon_address(config: MinerConfig, sources: AddressSources = _SOURCES) -> AxonAddress:
    """The named address; else loopback on a local network, and this machine's own on any other.

    What it gives may change while the miner runs: a machine gets another address, a name another owner.

    Raises:
        ConfigError: the address is not one that others can call, and no other is named.
    """
    port = config.port if config.axon_port is None else config.axon_port
    local = is_local_network(config.network)
    if config.axon_ip is None:
        return AxonAddress(LOOPBACK if local else _own_address(config, sources), port)
    try:
        return AxonAddress(str(ip_address(config.axon_ip)), port)
    except ValueError:
        return AxonAddress(_named_address(config.axon_ip, local, sources), port)


def _own_address(config: MinerConfig, sources: AddressSources) -> str:
    own = sources.own()
    if own is None or not is_callable_address(own, allow_local=False):
        raise ConfigError(
            f"gateways can't call this machine at {own or 'any address'}, which is private; "
            f"pass --axon-ip with the public address that leads to port {config.port} here, and --axon-port "
            "when it is another port there"
        )
    return own


def _named_address(name: str, local: bool, sources: AddressSources) -> str:
    found = sources.named(name)
    if found is None or not is_callable_address(found, allow_local=local):
        raise ConfigError(
            f"--axon-ip {name} leads to {found or 'no address'}, at which gateways can't call this machine; "
            "let the name lead to its public address"
        )
    return found
