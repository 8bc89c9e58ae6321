"""Which endpoints a network has: what `--network` may say, and what it means."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from bittensor.settings import NETWORKS, default_archive_endpoints, default_fallback_endpoints

from shared.errors import ConfigError

_ADDRESSES = ("ws://", "wss://")


@dataclass(frozen=True)
class Endpoint:
    """A node's websocket address, and nodes that are asked for what it has discarded."""

    url: str
    archives: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The address without what may be secret in it: user, path and query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def endpoints_of(network: str) -> tuple[Endpoint, ...]:
    """The endpoints of a network, or of several with commas between them, the preferred one first.

    A named network has the SDK's public endpoints for it, an address is one endpoint.

    Raises:
        ConfigError: it is neither.
    """
    parts = [part.strip() for part in network.split(",") if part.strip()]
    found = [endpoint for part in parts for endpoint in _endpoints(part)]
    if not found:
        raise ConfigError("--network names no network; it takes a name, or ws:// or wss:// addresses")
    first_by_url: dict[str, Endpoint] = {}
    for endpoint in found:
        first_by_url.setdefault(endpoint.url, endpoint)
    return tuple(first_by_url.values())


def _endpoints(name: str) -> list[Endpoint]:
    if name.startswith(_ADDRESSES):
        return [Endpoint(name)]
    if name not in NETWORKS:
        known = ", ".join(sorted(NETWORKS))
        raise ConfigError(
            f"there is no network {name!r}; --network takes {known}, or ws:// or wss:// addresses "
            "with commas between them"
        )
    archives = tuple(default_archive_endpoints(name))
    return [Endpoint(url, archives) for url in (NETWORKS[name], *default_fallback_endpoints(name))]


def check_network(network: str) -> None:
    """Check that `network` names endpoints.

    Raises:
        ConfigError: it does not.
    """
    endpoints_of(network)


def is_local_network(network: str) -> bool:
    """Whether all of the network's nodes run on this machine, so that loopback axons are fine."""
    return all(_is_local(part.strip()) for part in network.split(","))


def _is_local(name: str) -> bool:
    return name == "local" or urlsplit(name).hostname in ("127.0.0.1", "localhost", "::1")


def first_network(network: str) -> str:
    """What to pass to tools that take one network only, such as btcli."""
    return network.split(",")[0].strip()
