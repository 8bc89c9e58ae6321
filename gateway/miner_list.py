"""A list of miners that the operator keeps, in a file or in --miners, and changes while the gateway runs."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

from gateway.config import StaticMiner
from gateway.miners import MinerListing

log = logging.getLogger(__name__)

WATCH_S = 2.0
"""After so long at most a changed file is read."""


class ListedMiners:
    """A MinerSource of a list: a hotkey keeps its uid while it is listed, a new one gets the lowest free.

    Args:
        read: gives the list as it is now. Blocks. Raises ConfigError when it can't be had.
    """

    def __init__(self, read: Callable[[], Sequence[StaticMiner]]) -> None:
        self._read = read
        self._uids: dict[str, int] = {}

    async def listings(self) -> Sequence[MinerListing]:
        """Raises ConfigError: the list can't be had now; nothing is forgotten."""
        miners = await asyncio.to_thread(self._read)
        hotkeys = dict.fromkeys(miner.hotkey for miner in miners)
        kept = {hotkey: uid for hotkey, uid in self._uids.items() if hotkey in hotkeys}
        taken = frozenset(kept.values())
        free = (uid for uid in count() if uid not in taken)
        self._uids = {hotkey: kept[hotkey] if hotkey in kept else next(free) for hotkey in hotkeys}
        return [MinerListing(self._uids[miner.hotkey], miner.hotkey, miner.endpoint) for miner in miners]


class FileWatch:
    """Says when a file may have changed.

    Args:
        changed: called in the event loop.
    """

    def __init__(self, file: Path, changed: Callable[[], None]) -> None:
        self._file, self._changed = file, changed
        self._seen = self._state()

    def look(self) -> None:
        """Look once."""
        state = self._state()
        if state != self._seen:
            self._seen = state
            log.info("%s has changed and is read again", self._file)
            self._changed()

    def _state(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(WATCH_S)
            self.look()
