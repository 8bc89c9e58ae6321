"""Moves records from a gateway's log into the auditor's state."""

from shared.record_log import RecordReader
from validator.known_prefixes import KnownPrefixes
from validator.request_state import RequestState

BATCH_RECORDS = 200
"""Records taken in one transaction: a few megabytes at most."""


class RecordFollower:
    """Reads one record log from where it stopped. Blocks."""

    def __init__(self, reader: RecordReader, source: str, requests: RequestState) -> None:
        self._reader, self._source, self._requests = reader, source, requests
        self._prefixes = KnownPrefixes()
        self.newest_record_at_ms: int | None = None

    def follow(self) -> int:
        """Take one batch; returns how many records were read, zero when there is nothing new."""
        before = self._requests.cursor(self._source)
        records, after = self._reader.read(before, BATCH_RECORDS)
        if after != before:
            known = {(one.request_id, one.miner_hotkey): self._prefixes.take(one) for one in records}
            self._requests.add_records(self._source, records, after, known)
        if records:
            self.newest_record_at_ms = max(record.finished_at_ms for record in records)
        return len(records)
