"""Which key a request carries, and from which address it comes: read from its head."""

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from starlette.types import Scope

from gateway.client_refusals import wrong_authorization

BEARER = "bearer"
OTHER_HEADERS = (b"x-api-key", b"api-key")
"""Where clients of Anthropic's and Azure's API put their key."""

PLACEHOLDERS = frozenset(
    {"", "none", "null", "empty", "-", "anonymous", "no-key", "not-needed", "sk-no-key-required"}
)
"""What OpenAI clients are given as the key where none is needed, since they insist on one; in lower case."""

IPV6_PREFIX_BITS = 64
"""One subscriber's line: whoever has one IPv6 address has all of its /64."""


def key_in(scope: Scope) -> str | None:
    """The key of a request; None when it has none, or one that stands for none.

    Raises:
        ApiError: 401; the header names another way to authenticate.
    """
    headers: Mapping[bytes, bytes] = dict(scope["headers"])
    sent = headers.get(b"authorization")
    if sent is not None:
        scheme, _, secret = sent.decode("latin-1").strip().partition(" ")
        if scheme.lower() != BEARER:
            raise wrong_authorization()
        if secret.strip().lower() not in PLACEHOLDERS:
            return secret.strip()
    for name in OTHER_HEADERS:
        secret = headers.get(name, b"").decode("latin-1").strip()
        if secret.lower() not in PLACEHOLDERS:
            return secret
    return None


def address_prefix(scope: Scope) -> str:
    """What counts as one client among those without a key: an IPv4 address, or the /64 of an IPv6 address."""
    return _prefix(scope["client"][0]) if scope.get("client") else "unknown"


@lru_cache(maxsize=4096)
def _prefix(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is None:
            return str(ipaddress.ip_network((int(address), IPV6_PREFIX_BITS), strict=False))
        address = address.ipv4_mapped
    return str(address)
