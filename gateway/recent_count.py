"""Counting what happened lately."""

from gateway.routing import decayed


class Recent:
    """A count that halves every SAMPLE_HALF_LIFE_S."""

    def __init__(self) -> None:
        self._count, self._at_s = 0.0, 0.0

    @property
    def none(self) -> bool:
        """Whether nothing has ever been counted."""
        return not self._count

    def add(self, now_s: float) -> None:
        """Count one."""
        self._count, self._at_s = self.at(now_s) + 1.0, now_s

    def at(self, now_s: float) -> float:
        """The count as of `now_s`."""
        return decayed(self._count, now_s - self._at_s) if self._count else 0.0
