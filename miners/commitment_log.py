"""Commitments on disk, so that a miner that was restarted or killed can open what it signed for.

A folder of append-only segments. A commitment is safe from the process's end when `append` has returned; it
is not synced, so that a machine that loses power loses the last seconds. No process continues a
segment of an earlier one, and a segment goes as a whole, with the last commitment in it that is held.
"""

import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from miners.commitment_records import Damage, WrittenCommitment, encode_record, scan_records
from shared.commitments import Commitment
from shared.errors import ConfigError
from shared.folder_lock import lock_folder

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 << 20
"""A segment is closed when it has grown so long: what the disk may hold beyond what is held in memory."""

_SEGMENT = re.compile(r"^commitments-(\d{8,})\.log$")


@dataclass(frozen=True)
class FoundCommitment:
    """A commitment that an earlier process wrote.

    Attributes:
        segment: what `release` is called with once it is no longer held.
    """

    commitment: Commitment
    age_s: float
    segment: int


class CommitmentLog:
    """The one writer and reader of a miner's folder of commitments. Not for use by several threads.

    Args:
        segment_s: age at which a segment is closed, so that a slow miner's old commitments can go too.
        clock: Unix seconds, which go on while the miner does not run.

    Raises:
        ConfigError: another process uses the folder.
        OSError: the folder can't be made or written.
    """

    def __init__(
        self,
        folder: Path,
        hotkey: str,
        segment_s: float,
        clock: Callable[[], float],
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = lock_folder(
            folder,
            f"another miner of this hotkey keeps its commitments in {folder}; stop it, "
            "or pass another --state-dir",
        )
        self._folder, self._header = folder, f"constantinople commitments/1 of {hotkey}\n".encode()
        self._segment_bytes, self._segment_s, self._clock = segment_bytes, segment_s, clock
        self._held: dict[int, int] = {}
        self._number = max(self._numbers(), default=0)
        self._fd, self._size, self._begun_at_s = -1, 0, 0.0

    @property
    def folder(self) -> Path:
        """Where the segments are."""
        return self._folder

    def read(self) -> Iterator[FoundCommitment]:
        """What earlier processes wrote, oldest first; each is held until it is released.

        Damage is skipped with a warning. Segments that hold nothing any more are deleted.

        Raises:
            ConfigError: a segment is not one of this miner's.
            OSError: a segment can't be read.
        """
        for number in self._numbers():
            data = self._file(number).read_bytes()
            self._check_header(number, data)
            self._held[number] = 1
            for found in scan_records(data, len(self._header)):
                if isinstance(found, Damage):
                    self._warn_of(found, number)
                    continue
                self._held[number] += 1
                age_s = max(0.0, self._clock() - found.written_at_s)
                yield FoundCommitment(found.commitment, age_s, number)
            self.release(number)

    def append(self, commitment: Commitment) -> int:
        """Write a commitment; the segment to release once it is no longer held.

        Raises:
            OSError: the disk is full or broken; nothing of the commitment is read later.
        """
        record = encode_record(WrittenCommitment(self._clock(), commitment))
        if self._is_full():
            self._start_segment()
        self._write(record if self._size else self._header + record)
        self._held[self._number] += 1
        return self._number

    def release(self, segment: int) -> None:
        """One commitment of a segment is no longer held; with the last one the segment is deleted."""
        self._held[segment] -= 1
        if self._held[segment] > 0:
            return
        del self._held[segment]
        if segment == self._number:
            self._close_segment()
        try:
            self._file(segment).unlink()
        except OSError as error:
            log.warning("%s can't be deleted: %s; delete it by hand", self._file(segment), error.strerror)

    def close(self) -> None:
        """Let go of the folder."""
        self._close_segment()
        os.close(self._lock_fd)

    def _file(self, number: int) -> Path:
        return self._folder / f"commitments-{number:08d}.log"

    def _numbers(self) -> list[int]:
        found = (_SEGMENT.match(file.name) for file in self._folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def _check_header(self, number: int, data: bytes) -> None:
        """A process may have been killed within the header, which leaves a part of it and nothing else."""
        if not data.startswith(self._header) and not self._header.startswith(data):
            raise ConfigError(
                f"{self._file(number)} holds something else than this hotkey's commitments in this version's "
                "form; move it away, or pass another --state-dir"
            )

    def _warn_of(self, damage: Damage, number: int) -> None:
        log.warning(
            "%s: %d bytes at %d are no whole commitment and are skipped; at the end of a file this is "
            "the answer that was cut off when the miner was killed, elsewhere check the disk",
            self._file(number),
            damage.size,
            damage.offset,
        )

    def _is_full(self) -> bool:
        aged = self._clock() - self._begun_at_s >= self._segment_s
        return self._fd < 0 or self._size >= self._segment_bytes or (aged and self._size > 0)

    def _start_segment(self) -> None:
        self._close_segment()
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._file(self._number + 1), flags, 0o600)
        self._number += 1
        self._held[self._number] = 0
        self._size, self._begun_at_s = 0, self._clock()

    def _close_segment(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _write(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.write(self._fd, memoryview(data)[written:])
        except OSError:
            self._take_back()
            raise
        self._size += len(data)

    def _take_back(self) -> None:
        """Cut off what was written of a record; a segment that can't be cut is not continued."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError as error:
            log.warning("a torn end stays in %s: %s", self._file(self._number), error.strerror)
            self._close_segment()
