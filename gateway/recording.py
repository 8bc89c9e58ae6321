"""Recording: every attempt is written before its client sees the end, or nothing is served at all."""

import asyncio
import logging
from typing import Protocol

from gateway.errors import recording_unavailable
from shared.records import RequestRecord

log = logging.getLogger(__name__)


class RecordLog(Protocol):
    """What takes the records: shared.record_log.RecordWriter. Every method raises OSError."""

    def append(self, record: RequestRecord) -> None: ...

    def sync(self) -> None: ...

    def check_room(self) -> None: ...

    def close(self) -> None: ...


class Recorder:
    """Writes records, syncs them in the background, and says when it can't.

    Attributes:
        failure: why records can't be written; None while they can.
    """

    def __init__(self, records: RecordLog) -> None:
        self._records = records
        self.failure: str | None = None

    def write(self, record: RequestRecord) -> None:
        """Write one record.

        Raises:
            ApiError: 503; it can't be written.
        """
        try:
            self._records.append(record)
        except OSError as error:
            self._fail(f"record {record.request_id} can't be written: {error}")
            raise recording_unavailable() from error

    def check(self) -> None:
        """Check, before a request is served, that it could be recorded.

        Raises:
            ApiError: 503; it could not.
        """
        if self.failure is not None:
            raise recording_unavailable()

    def _fail(self, failure: str) -> None:
        if self.failure is None:
            log.error("%s; new requests get HTTP 503 until the log can be written again", failure)
        self.failure = failure

    async def sync(self) -> None:
        """Force to disk what was written, and see whether a failure is over."""
        try:
            await asyncio.to_thread(self._records.sync)
            if self.failure is not None:
                self._records.check_room()
        except OSError as error:
            self._fail(f"the record log can't be written: {error}")
            return
        if self.failure is not None:
            log.info("the record log can be written again")
            self.failure = None

    async def run(self, interval_s: float) -> None:
        """Sync for ever, every `interval_s` seconds."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.sync()
            except Exception:
                log.exception("syncing the record log failed; it is tried again in %g s", interval_s)

    async def close(self) -> None:
        """Sync for the last time."""
        try:
            await asyncio.to_thread(self._records.close)
        except OSError as error:
            log.error("the record log could not be synced at the end: %s", error)
