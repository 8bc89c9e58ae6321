"""So many questions a minute from one address, for routes that serve no model and so have no other limit."""

from collections import OrderedDict

from starlette.types import Scope

from gateway.client_refusals import rate_limited
from gateway.clock import Clock
from gateway.credentials import address_prefix
from gateway.token_bucket import TokenBucket

MOST_ADDRESSES = 20_000
"""Addresses whose buckets are kept, some 5 MB; the one that asked longest ago is forgotten first."""


class AddressLimits:
    """The buckets of addresses; an IPv6 address shares that of its /64."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        self._per_minute, self._clock = per_minute, clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, scope: Scope) -> None:
        """Count one request.

        Raises:
            ApiError: 429; the address has asked too often.
        """
        address, now_s = address_prefix(scope), self._clock.monotonic_s()
        bucket = self._buckets.setdefault(address, TokenBucket(self._per_minute, now_s))
        self._buckets.move_to_end(address)
        while len(self._buckets) > MOST_ADDRESSES:
            self._buckets.popitem(last=False)
        if not bucket.take(1, now_s):
            raise rate_limited("requests", self._per_minute, bucket.wait_s(1, now_s))
