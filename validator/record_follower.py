"""Moves records from a gateway's log into the auditor's state."""

from shared.record_feed import RecordFeed
from validator.known_prefixes import KnownPrefixes
from validator.request_state import RequestState

BATCH_RECORDS = 200
"""Records taken in one transaction: a few megabytes at most."""


class RecordFollower:
    """Reads one gateway's record log, or those of its workers, each from where it stopped. Blocks.

    Args:
        source: names the log among all that are read into the same state.
        prefixes: what is known of miners' caches, also from other gateways.
    """

    def __init__(
        self,
        reader: RecordFeed,
        source: str,
        requests: RequestState,
        prefixes: KnownPrefixes | None = None,
    ) -> None:
        self._reader, self._source, self._requests = reader, source, requests
        self._prefixes = prefixes or KnownPrefixes()
        self.newest_record_at_ms: int | None = None

    def follow(self) -> int:
        """Take one batch of each log; returns how many records were read, zero when there is nothing new.

        Raises:
            DownloadFailed: the gateway can't be asked now.
        """
        read = self._follow(self._reader, self._source)
        for name, reader in self._reader.workers().items():
            read += self._follow(reader, f"{self._source}/{name}")
        return read

    def _follow(self, reader: RecordFeed, source: str) -> int:
        before = self._requests.cursor(source)
        records, after = reader.read(before, BATCH_RECORDS)
        if after != before:
            known = {(one.request_id, one.miner_hotkey): self._prefixes.take(one) for one in records}
            self._requests.add_records(source, records, after, known)
        if records:
            newest_ms = max(record.finished_at_ms for record in records)
            self.newest_record_at_ms = max(newest_ms, self.newest_record_at_ms or 0)
        return len(records)
