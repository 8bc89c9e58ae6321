"""What has been captured and not yet been collected, bounded in bytes and age.

A running request's captures are bounded by the engine: 30 layers take 240 bytes a token, far less than
the same token's KV cache. The bounds are for finished requests that nobody collects.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from miners.hidden_states.request_names import CHOICES_PER_PROMPT, ChoiceName, is_replay, parse_choice
from shared.committed_positions import CommittedPositions

REPLAY_POSITIONS = "constantinople_positions"
"""Key of `SamplingParams.extra_args` that holds a replay's positions."""

MAX_STORE_BYTES = 256 << 20
"""Bound on finished, uncollected captures. With 30 layers a committed position is 3,840 bytes, so this is
about a million tokens; the oldest finished requests go first."""

MAX_UNCOLLECTED_S = 600.0
"""Age at which a finished, uncollected capture is dropped; a response is collected as it ends."""


@dataclass
class Tracked:
    """One engine request whose rows are kept: sketches by position, or whole vectors for a replay.

    Attributes:
        cached_tokens: leading positions that the prefix cache supplied at the first schedule.
        rows: by position, the bytes of all layers.
    """

    name: ChoiceName | None
    cached_tokens: int
    positions: CommittedPositions | frozenset[int]
    rows: dict[int, bytes] = field(default_factory=dict)
    finished_at_s: float | None = None

    @property
    def size_bytes(self) -> int:
        return sum(len(row) for row in self.rows.values())

    def within(self, start: int, stop: int) -> list[int]:
        """Wanted positions in [start, stop), ascending."""
        if isinstance(self.positions, CommittedPositions):
            return self.positions.within(start, stop)
        return sorted(position for position in self.positions if start <= position < stop)


class CaptureStore:
    """Requests by internal id, in the order in which they first ran.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, max_bytes: int = MAX_STORE_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes, self._clock = max_bytes, clock
        self._tracked: dict[str, Tracked] = {}
        self._finished: dict[str, None] = {}
        self._finished_bytes = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._tracked)

    def begin(
        self, internal_id: str, prompt_tokens: int, cached_tokens: int, extra_args: Mapping[str, object]
    ) -> None:
        """Start to track a request that runs for the first time; later calls change nothing.

        A preempted request runs again under the same id: what it computed before stays valid. Another
        request for the same choice takes the place of the first.
        """
        if internal_id in self._tracked or prompt_tokens < 1:
            return
        if is_replay(internal_id):
            positions = extra_args.get(REPLAY_POSITIONS)
            if isinstance(positions, (list, tuple)):
                wanted = frozenset(int(position) for position in positions)
                self._tracked[internal_id] = Tracked(None, cached_tokens, wanted)
            return
        siblings = extra_args.get(CHOICES_PER_PROMPT)
        name = parse_choice(internal_id, siblings if isinstance(siblings, int) else 1)
        if name is not None:
            for earlier in [key for key, tracked in self._tracked.items() if tracked.name == name]:
                self._forget(earlier)
            drawn = CommittedPositions(name.request_id, name.choice, prompt_tokens)
            self._tracked[internal_id] = Tracked(name, cached_tokens, drawn)

    def wanted(self, internal_id: str, start: int, stop: int) -> Sequence[int]:
        """Wanted positions of a request in [start, stop)."""
        tracked = self._tracked.get(internal_id)
        return tracked.within(start, stop) if tracked else ()

    def is_replay(self, internal_id: str) -> bool:
        """Whether whole vectors are kept for this request."""
        tracked = self._tracked.get(internal_id)
        return tracked is not None and tracked.name is None

    def put(self, internal_id: str, position: int, row: bytes) -> None:
        """Keep what was captured at a position; a recomputed position replaces the earlier one."""
        tracked = self._tracked.get(internal_id)
        if tracked is not None:
            growth = len(row) - len(tracked.rows.get(position, b""))
            self.size_bytes += growth
            if tracked.finished_at_s is not None:
                self._finished_bytes += growth
            tracked.rows[position] = row

    def finish(self, internal_id: str) -> None:
        """The engine is done with a request; from now on it may be dropped for room."""
        tracked = self._tracked.get(internal_id)
        if tracked is not None and tracked.finished_at_s is None:
            tracked.finished_at_s = self._clock()
            self._finished[internal_id] = None
            self._finished_bytes += tracked.size_bytes
        self._make_room()

    def _make_room(self) -> None:
        for oldest in list(self._finished):
            expired = self._clock() - (self._tracked[oldest].finished_at_s or 0.0) > MAX_UNCOLLECTED_S
            if not expired and self._finished_bytes <= self._max_bytes:
                return
            self._forget(oldest)

    def _forget(self, internal_id: str) -> Tracked:
        tracked = self._tracked.pop(internal_id)
        self.size_bytes -= tracked.size_bytes
        if tracked.finished_at_s is not None:
            del self._finished[internal_id]
            self._finished_bytes -= tracked.size_bytes
        return tracked

    def take_choices(self, request_id: str) -> list[Tracked]:
        """Remove and return every choice of a request, by choice index."""
        keys = [
            key
            for key, tracked in self._tracked.items()
            if tracked.name is not None and tracked.name.request_id == request_id
        ]
        return sorted((self._forget(key) for key in keys), key=lambda tracked: tracked.name.choice)  # type: ignore[union-attr]

    def take_replay(self, replay_id: str) -> Tracked | None:
        """Remove and return a replay by the name that it was submitted under."""
        keys = [key for key in self._tracked if key.startswith(replay_id)]
        return self._forget(keys[0]) if keys else None
