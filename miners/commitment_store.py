"""Commitments that may still be challenged, in memory, bounded in bytes and in time."""

import logging
from collections import OrderedDict
from collections.abc import Callable

from shared.commitments import Commitment

log = logging.getLogger(__name__)

WARNING_INTERVAL_S = 60.0
"""At most one warning about lack of memory in this time."""


class CommitmentStore:
    """Commitments by request id, oldest first.

    Args:
        limit_bytes: sketches and token ids held at most.
        window_s: age at which a commitment is dropped.
        clock: monotonic seconds.
    """

    def __init__(self, limit_bytes: int, window_s: float, clock: Callable[[], float]) -> None:
        self._limit_bytes, self._window_s, self._clock = limit_bytes, window_s, clock
        self._held: OrderedDict[str, tuple[float, Commitment]] = OrderedDict()
        self._warned_at_s: float | None = None
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, request_id: str) -> bool:
        return self.get(request_id) is not None

    def add(self, commitment: Commitment) -> None:
        """Keep a commitment; makes room by dropping what is too old, then the oldest.

        Raises:
            ValueError: one of that request id is held already.
        """
        self._drop_expired()
        if commitment.request_id in self._held:
            raise ValueError(f"request {commitment.request_id} has a commitment already")
        self._held[commitment.request_id] = (self._clock(), commitment)
        self.size_bytes += commitment.size_bytes
        while self.size_bytes > self._limit_bytes:
            self._warn()
            self._drop_oldest()

    def get(self, request_id: str) -> Commitment | None:
        """The commitment of a request, or None when there is none or its window has passed."""
        self._drop_expired()
        held = self._held.get(request_id)
        return held[1] if held else None

    def _drop_expired(self) -> None:
        while self._held:
            added_at_s, _ = next(iter(self._held.values()))
            if self._clock() - added_at_s <= self._window_s:
                return
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, (_, commitment) = self._held.popitem(last=False)
        self.size_bytes -= commitment.size_bytes

    def _warn(self) -> None:
        now_s = self._clock()
        if self._warned_at_s is None or now_s - self._warned_at_s >= WARNING_INTERVAL_S:
            self._warned_at_s = now_s
            log.warning(
                "commitments fill their %d MiB, so the oldest are dropped before their challenge window ends "
                "and a challenge for one of them will fail; raise --commitment-memory-mib",
                self._limit_bytes >> 20,
            )
