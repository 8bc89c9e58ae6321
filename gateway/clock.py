"""The two clocks of the gateway, passed in so that tests set the time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Durations come from `monotonic_s`, dates from `unix_ms`; never one from the other."""

    def monotonic_s(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def unix_ms(self) -> int:
        """Milliseconds of Unix time."""
        ...


class SystemClock:
    """This machine's clocks."""

    monotonic_s = staticmethod(time.monotonic)

    def unix_ms(self) -> int:
        return time.time_ns() // 1_000_000
