"""How much one client may take: its buckets of requests and tokens, and its quota of the day."""

import math
from collections.abc import Mapping

from gateway.client_refusals import quota_exceeded, rate_limited
from gateway.clock import Clock
from gateway.key_store import Limits
from gateway.pseudonyms import DAY_MS
from gateway.token_bucket import TokenBucket
from gateway.usage_book import UsageBook
from gateway.usage_store import Used

_REQUESTS, _TOKENS = (
    (f"x-ratelimit-limit-{what}", f"x-ratelimit-remaining-{what}", f"x-ratelimit-reset-{what}")
    for what in ("requests", "tokens")
)


class ClientLimits:
    """The limits of one client, and what it has taken of them.

    Args:
        client: under which its use is counted.
    """

    def __init__(self, client: str, limits: Limits, book: UsageBook, clock: Clock) -> None:
        self.client, self.limits = client, limits
        self._book, self._clock = book, clock
        self._requests = self._bucket(limits.requests_per_minute)
        self._tokens = self._bucket(limits.tokens_per_minute)

    def _bucket(self, per_minute: int | None) -> TokenBucket | None:
        return None if per_minute is None else TokenBucket(per_minute, self._clock.monotonic_s())

    def begin(self) -> None:
        """Take one request.

        Raises:
            ApiError: 429; there is none left.
        """
        bucket, now_s = self._requests, self._clock.monotonic_s()
        if bucket is not None and not bucket.take(1, now_s):
            wait_s = bucket.wait_s(1, now_s)
            raise rate_limited("requests", bucket.per_minute, wait_s).with_headers(self.headers())

    def reserve(self, tokens: int) -> int:
        """Take the tokens that a request may use; gives how many were taken of the minute's.

        Raises:
            ApiError: 429; there are not so many left of the day's, or of the minute's.
        """
        self._check_quota(tokens)
        bucket, now_s = self._tokens, self._clock.monotonic_s()
        taken = 0 if bucket is None else min(tokens, bucket.per_minute)
        if bucket is not None and not bucket.take(taken, now_s):
            raise rate_limited("tokens", bucket.per_minute, bucket.wait_s(taken, now_s))
        self._book.reserve(self.client, tokens)
        return taken

    def settle(self, reserved: int, taken: int, used: Used, model: str) -> None:
        """The end of a request that reserved so much: what it used is taken instead, even into debt."""
        self._book.release(self.client, reserved)
        self._book.count(self.client, model, used)
        if self._tokens is not None:
            self._tokens.charge(used.tokens - taken, self._clock.monotonic_s())

    def _check_quota(self, tokens: int) -> None:
        quota = self.limits.tokens_per_day
        if quota is None:
            return
        left = max(0, quota - self._book.tokens_today(self.client))
        if tokens > left:
            until_midnight_s = (DAY_MS - self._clock.unix_ms() % DAY_MS) / 1000
            raise quota_exceeded(quota, left, until_midnight_s)

    def headers(self) -> Mapping[str, str]:
        """What OpenAI's API says about limits, under its names."""
        now_s = self._clock.monotonic_s()
        told: dict[str, str] = {}
        for bucket, (limit, remaining, reset) in ((self._requests, _REQUESTS), (self._tokens, _TOKENS)):
            if bucket is not None:
                told[limit] = str(bucket.per_minute)
                told[remaining] = str(max(0, math.floor(bucket.level(now_s) + 1e-6)))
                told[reset] = f"{bucket.wait_s(bucket.per_minute, now_s):.3f}s"
        return told
