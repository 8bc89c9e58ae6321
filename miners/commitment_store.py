"""Commitments that may still be challenged, bounded in bytes and in time, in memory and on disk alike."""

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from miners.commitment_log import CommitmentLog
from shared.commitments import Commitment

log = logging.getLogger(__name__)

WARNING_INTERVAL_S = 60.0
"""At most one warning of a kind in this time."""


@dataclass(frozen=True)
class _Held:
    """A commitment, when it was made by the store's clock, and the segment that holds it on disk."""

    commitment: Commitment
    made_at_s: float
    segment: int | None


class CommitmentStore:
    """Commitments by request id, oldest first.

    Args:
        limit_bytes: sketches and token ids held at most.
        window_s: age at which a commitment is dropped.
        clock: monotonic seconds.
        disk: where they outlive the process; without it they end with it.

    Attributes:
        limit_bytes: as given.
        disk_trouble: why the newest commitment is in memory only, in words; None when it isn't.
    """

    def __init__(
        self, limit_bytes: int, window_s: float, clock: Callable[[], float], disk: CommitmentLog | None = None
    ) -> None:
        self.limit_bytes, self._window_s, self._clock, self._disk = limit_bytes, window_s, clock, disk
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._warned_at_s: dict[str, float] = {}
        self.size_bytes = 0
        self.disk_trouble: str | None = None

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, request_id: str) -> bool:
        return self.get(request_id) is not None

    def restore(self) -> None:
        """Take in what earlier processes left on disk and may still be challenged.

        Raises:
            ConfigError: the folder holds files of somebody else.
            OSError: a file can't be read.
        """
        if self._disk is None:
            return
        for found in self._disk.read():
            if found.commitment.request_id in self._held:
                self._drop(found.commitment.request_id)
            self._hold(_Held(found.commitment, self._clock() - found.age_s, found.segment))
            self._drop_expired()

    def add(self, commitment: Commitment) -> None:
        """Keep a commitment; makes room by dropping what is too old, then the oldest.

        With a disk it outlives the process from here on. When the disk fails, the operator is told and
        it is held in memory alone: answers with a receipt that can be opened until the next restart are
        worth more than answers without.

        Raises:
            ValueError: one of that request id is held already.
        """
        self._drop_expired()
        if commitment.request_id in self._held:
            raise ValueError(f"request {commitment.request_id} has a commitment already")
        self._hold(_Held(commitment, self._clock(), self._write(commitment)))

    def get(self, request_id: str) -> Commitment | None:
        """The commitment of a request, or None when there is none or its window has passed."""
        self._drop_expired()
        held = self._held.get(request_id)
        return held.commitment if held else None

    def _hold(self, held: _Held) -> None:
        self._held[held.commitment.request_id] = held
        self.size_bytes += held.commitment.size_bytes
        while self.size_bytes > self.limit_bytes:
            self._warn_of_bound()
            self._drop(next(iter(self._held)))

    def _drop_expired(self) -> None:
        while self._held:
            request_id, oldest = next(iter(self._held.items()))
            if self._clock() - oldest.made_at_s <= self._window_s:
                return
            self._drop(request_id)

    def _drop(self, request_id: str) -> None:
        held = self._held.pop(request_id)
        self.size_bytes -= held.commitment.size_bytes
        if self._disk is not None and held.segment is not None:
            self._disk.release(held.segment)

    def _write(self, commitment: Commitment) -> int | None:
        if self._disk is None:
            return None
        try:
            segment = self._disk.append(commitment)
        except OSError as error:
            self.disk_trouble = f"commitments can't be written to {self._disk.folder}: {error.strerror}"
            self._warn_of_disk(self._disk, error)
            return None
        self.disk_trouble = None
        return segment

    def _warn_of_disk(self, disk: CommitmentLog, error: OSError) -> None:
        if self._is_due("disk"):
            log.error(
                "commitments can't be written to %s: %s. They are held in memory only, and a restart within "
                "%d minutes fails their challenges; make room on the disk",
                disk.folder,
                error.strerror,
                self._window_s // 60,
            )

    def _warn_of_bound(self) -> None:
        if self._is_due("bound"):
            log.warning(
                "commitments fill their %d MiB, so the oldest are dropped before their challenge window ends "
                "and a challenge for one of them will fail; raise --commitment-memory-mib",
                self.limit_bytes >> 20,
            )

    def _is_due(self, kind: str) -> bool:
        """Whether the operator was not told of that lately; he is now."""
        now_s = self._clock()
        last_s = self._warned_at_s.get(kind)
        if last_s is not None and now_s - last_s < WARNING_INTERVAL_S:
            return False
        self._warned_at_s[kind] = now_s
        return True
