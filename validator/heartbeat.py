"""How a running watchtower shows that it works: a small file, written as it goes, and judged by `--health`.

Imports nothing heavy: it is read every minute by a process of its own.
"""

import json
import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from validator.clock import Clock

log = logging.getLogger(__name__)

FILE_NAME = "watchtower.heartbeat.json"


@dataclass(frozen=True)
class Heartbeat:
    """What the watchtower last said of itself; times are Unix milliseconds.

    `looked_at_ms` and `stepped_at_ms` are when its two parts last came round, whatever came of it: the one
    that looks for epochs, the one that brings weights onto the chain. `settled_at_ms` is when no weights
    waited last. `troubles` are words and since when they hold, by subject.
    """

    revision: str
    source: str
    poll_seconds: float
    looked_at_ms: int
    stepped_at_ms: int
    settled_at_ms: int
    epoch: int | None = None
    weights: str = "no weights yet"
    troubles: Mapping[str, tuple[str, int]] | None = None


class HeartbeatFile:
    """Keeps the file current, for any number of threads. Blocks."""

    def __init__(self, folder: Path, source: str, poll_seconds: float, clock: Clock, revision: str) -> None:
        """Write the first heartbeat: what an earlier process said of itself counts no more."""
        self._file, self._clock = folder.expanduser() / FILE_NAME, clock
        self._lock = threading.Lock()
        now_ms = clock()
        self._current = Heartbeat(revision, source, poll_seconds, now_ms, now_ms, now_ms)
        self._write(self._current)

    def looked(self, epoch: int | None, troubles: Mapping[str, str]) -> None:
        """The source was looked at; `epoch` is the newest one that is followed, if that is known."""
        with self._lock:
            epoch = self._current.epoch if epoch is None else epoch
            self._write(replace(self._aware(troubles), looked_at_ms=self._clock(), epoch=epoch))

    def stepped(self, weights: str, waiting: bool, troubles: Mapping[str, str]) -> None:
        """The weights were looked after: what became of the newest, in words, and whether they still wait."""
        with self._lock:
            now_ms = self._clock()
            current = replace(self._aware(troubles), stepped_at_ms=now_ms, weights=weights)
            self._write(current if waiting else replace(current, settled_at_ms=now_ms))

    def _aware(self, troubles: Mapping[str, str]) -> Heartbeat:
        """With these troubles; one that goes on keeps its beginning, even in other words."""
        known, now_ms = self._current.troubles or {}, self._clock()
        dated = {name: (words, known.get(name, ("", now_ms))[1]) for name, words in troubles.items()}
        return replace(self._current, troubles=dated)

    def _write(self, heartbeat: Heartbeat) -> None:
        self._current = heartbeat
        partial = self._file.with_name(f"{self._file.name}.{os.getpid()}.partial")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(asdict(heartbeat)))
            partial.replace(self._file)
        except OSError as error:
            # The watchtower does its work all the same; --health tells that there is no sign of life.
            log.warning("the heartbeat can't be written to %s: %s", self._file, error.strerror)


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """The heartbeat in a state folder; None when there is none that can be read."""
    try:
        said: dict[str, Any] = json.loads((folder.expanduser() / FILE_NAME).read_bytes())
        dated = said["troubles"] or {}
        troubles = {name: (str(words), int(since)) for name, (words, since) in dated.items()}
        return Heartbeat(**{**said, "troubles": troubles})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
