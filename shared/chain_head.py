"""Whether an endpoint follows the chain: it makes no blocks any more, or is behind the clock."""

from collections.abc import Callable

BLOCK_S = 12.0
"""Between two blocks of Bittensor."""

STANDING_BLOCKS = 5
"""Blocks that did not come before an endpoint counts as standing: one skipped block is ordinary, five in a
row are not."""

LATE_BLOCKS = 10
"""Blocks by which an endpoint's newest block may be behind this machine's clock."""

LEAD_BLOCKS = 2
"""Blocks by which another endpoint must be ahead to be better."""


class HeadWatch:
    """The newest block that one endpoint has shown, and since when it has not moved.

    Args:
        clock: seconds, never going back.
        unix_ms: this machine's time of day.
    """

    def __init__(self, clock: Callable[[], float], unix_ms: Callable[[], int]) -> None:
        self._clock, self._unix_ms = clock, unix_ms
        self.number = -1
        self._moved_at_s = clock()
        self._late_s = 0.0

    def note(self, number: int, timestamp_ms: int | None = None) -> None:
        """The endpoint says that this is the newest block; `timestamp_ms` is the block's own time."""
        if number > self.number:
            self.number, self._moved_at_s = number, self._clock()
        if timestamp_ms is not None:
            self._late_s = (self._unix_ms() - timestamp_ms) / 1000

    def trouble(self) -> str | None:
        """What is wrong with the endpoint's head, in words."""
        standing_s = self._clock() - self._moved_at_s
        if standing_s >= STANDING_BLOCKS * BLOCK_S:
            return f"block {self.number} has been the newest for {standing_s:.0f} s"
        if self._late_s > LATE_BLOCKS * BLOCK_S:
            return f"the newest block, {self.number}, is {self._late_s:.0f} s old by this machine's clock"
        return None
