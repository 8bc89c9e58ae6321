"""Which network addresses may be called: those that the metagraph gives are hostile input."""

import ipaddress

from shared.errors import MalformedMessage


def parse_endpoint(text: str) -> tuple[str, int]:
    """("ip", port) from "ip:port" or "[ip6]:port"; names are refused, since DNS can change its mind.

    Raises:
        MalformedMessage: not an IP address with a port from 1 to 65535.
    """
    host, separator, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.strip("[]"))
        number = int(port)
    except ValueError:
        raise MalformedMessage(f"not an address of the form ip:port: {text!r}") from None
    if not separator or not 0 < number < 65536 or not port.isascii():
        raise MalformedMessage(f"the port of {text!r} must be from 1 to 65535")
    return str(address), number


def is_callable_address(host: str, allow_local: bool) -> bool:
    """Whether a peer at `host` may be called.

    Only globally routable unicast addresses may: loopback, private, link-local (cloud metadata),
    multicast and reserved ones would let a stranger aim us at our own network. `allow_local` also
    admits loopback, for a network that runs on one machine.

    Raises:
        ValueError: `host` is not an IP address.
    """
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if allow_local and address.is_loopback:
        return True
    return address.is_global and not address.is_multicast


def host_and_port(host: str, port: int) -> str:
    """As the metagraph shows an axon: IPv6 addresses are bracketed."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def base_url(host: str, port: int) -> str:
    """The http URL of a peer."""
    return f"http://{host_and_port(host, port)}"
