"""A token bucket: so much at once, and so much a minute (or another span) on average."""

SECONDS = 60.0
_ROUNDING = 1e-6
"""What is forgiven, so that who waits exactly as long as told finds what was promised."""


class TokenBucket:
    """Full at first, and refilled evenly within a minute, or within `span_s` seconds.

    In any t seconds at most `per_minute` × (1 + t/60) are taken, besides what is taken in debt by `charge`.
    Times are seconds of one monotonic clock.
    """

    def __init__(self, per_minute: int, now_s: float, span_s: float = SECONDS) -> None:
        self.per_minute, self._span_s = per_minute, span_s
        self._level, self._at_s = float(per_minute), now_s

    def level(self, now_s: float) -> float:
        """What is there; below zero when more was charged than there was."""
        if now_s > self._at_s:
            gained = (now_s - self._at_s) * self.per_minute / self._span_s
            self._level = min(float(self.per_minute), self._level + gained)
            self._at_s = now_s
        return self._level

    def take(self, amount: float, now_s: float) -> bool:
        """Take `amount` if it is there; of more than the bucket holds, all that it holds."""
        wanted = min(amount, self.per_minute)
        if self.level(now_s) + _ROUNDING < wanted:
            return False
        self._level -= wanted
        return True

    def charge(self, amount: float, now_s: float) -> None:
        """Take `amount` whether it is there or not, or give it back when it is below zero."""
        self._level = min(float(self.per_minute), self.level(now_s) - amount)

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `take` would succeed if nobody else takes anything."""
        lacking = min(amount, self.per_minute) - self.level(now_s)
        return max(0.0, lacking * self._span_s / self.per_minute)
