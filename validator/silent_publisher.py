"""What a watchtower does while the publisher is silent, or publishes nothing sound.

Weights that stand on chain stay there, but a validator that sets none for long is taken for inactive (5,000
blocks on most subnets, 17 hours), so the last sound ones are set again now and then, for a while: miners go
on earning through an outage of the publisher, and what is old enough is not worth repeating.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

SET_AGAIN_MS = 3_600_000
"""Between settings of the same weights: well within any rate limit, and the time to be taken for inactive."""

HOUR_MS = 3_600_000

Decision = Literal["sound", "again", "wait", "stop"]
"""sound: there is a recent epoch. again: set the last sound weights again now. wait: a while later. stop: no
more."""


@dataclass(frozen=True)
class SilencePolicy:
    """What the operator has chosen: for how long weights are set again, 0 for not at all."""

    silent_after_ms: int
    keep_ms: int

    def decide(self, closed_at_ms: int, set_at_ms: int | None, now_ms: int) -> Decision:
        """What is to be done now.

        Args:
            closed_at_ms: when the last sound epoch was closed.
            set_at_ms: when its weights were set again last; None: not yet.
        """
        age_ms = now_ms - closed_at_ms
        if age_ms <= self.silent_after_ms:
            return "sound"
        if age_ms > max(self.keep_ms, 0) or not self.keep_ms:
            return "stop"
        return "wait" if set_at_ms is not None and now_ms - set_at_ms < SET_AGAIN_MS else "again"

    def words(self, decision: Decision, epoch: int, closed_at_ms: int) -> str:
        """The decision, for the log."""
        closed = datetime.fromtimestamp(closed_at_ms / 1000, UTC).isoformat(timespec="minutes")
        since = f"there is no sound epoch since {epoch}, closed {closed}"
        if decision == "stop":
            return f"{since}: its weights are not set again (--when-silent, --silent-hours)"
        return f"{since}: its weights are set again every hour, {self.keep_ms / HOUR_MS:g} h long at most"
