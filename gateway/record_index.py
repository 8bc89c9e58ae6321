"""Where the record of each request is in the gateway's log: read from the log itself, in the background.

Serving a request costs nothing for it. The index is on disk, some 200 bytes a record, and goes on where it
stopped; what it does not know yet is looked for at the end of the log when it is asked for.
"""

import asyncio
import logging
import threading
from collections.abc import Sequence

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from gateway.receipt_database import log_cursor, record_places
from shared.database import Database
from shared.record_folders import worker_name
from shared.record_log import Cursor, RecordPlace, RecordReader
from shared.records import RequestRecord

log = logging.getLogger(__name__)

BATCH_RECORDS = 256
"""Records taken in at once: some 6 ms of one core, of which reading the lines, a third, keeps the event loop
waiting. Sixty-four at once take 1.8 times as long for each: keys are random, and of a page that several of
them fall on only one write is needed."""

FOLLOW_SECONDS = 1.0

MAX_CATCH_UP_BATCHES = 8
"""How far a single question reads on: further than a second of the fastest gateway's log."""

MAX_ATTEMPTS = 16
"""Attempts that are told of one client's request; the gateway makes three at most."""


class RecordIndex:
    """Finds records by the ids of their requests. Every method but `run` blocks; all are for any thread.

    Args:
        reader: of the gateway's log; those of its workers lie inside.
        worker: which worker this process is; None when it is the only one. A worker keeps up with its own
            log, the first one with that of a gateway without workers too; others are read when they are
            asked for.
    """

    def __init__(self, database: Database, reader: RecordReader, worker: int | None = None) -> None:
        self._database, self._reader, self._worker = database, reader, worker
        self._following = threading.Lock()
        self._cursors: dict[str, Cursor] = {}
        self._failing = False

    def find(self, request_id: str) -> list[RequestRecord]:
        """The records of all attempts at the client's request that `request_id` was an attempt at, in their
        order; none when the log has no such record.

        Raises:
            SQLAlchemyError: the index can't be read or written.
            OSError: the log can't be read.
        """
        places = self._places(request_id)
        if not places:
            self._catch_up(MAX_CATCH_UP_BATCHES)
            places = self._places(request_id)
        logs = self._logs()
        found = [(place.request_id, logs[log].at(place.at)) for log, place in places if log in logs]
        return [record for expected, record in found if record and record.request_id == expected]

    def is_behind(self) -> bool:
        """Whether a log goes on after what was read of it."""
        with self._following:
            return any(
                reader.places(self._known_cursor(log, reader), 1)[0] for log, reader in self._logs().items()
            )

    def _logs(self) -> dict[str, RecordReader]:
        return {"": self._reader, **self._reader.workers()}

    def _own_logs(self) -> dict[str, RecordReader]:
        logs = self._logs()
        if self._worker is None:
            return logs
        own = {worker_name(self._worker), *([""] if self._worker == 1 else [])}
        return {log: reader for log, reader in logs.items() if log in own}

    def _places(self, request_id: str) -> list[tuple[str, RecordPlace]]:
        serves = select(record_places.c.serves).where(record_places.c.request_id == request_id)
        query = (
            select(record_places)
            .where(record_places.c.serves == serves.scalar_subquery())
            .order_by(record_places.c.log, record_places.c.segment, record_places.c.at_byte)
            .limit(MAX_ATTEMPTS)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return [
            (row.log, RecordPlace(row.request_id, row.serves, Cursor(row.segment, row.at_byte)))
            for row in rows
        ]

    def _catch_up(self, batches: int) -> None:
        for log, reader in self._logs().items():
            for _ in range(batches):
                if not self._follow(log, reader):
                    break

    def follow(self) -> bool:
        """Take in the next records of the logs that this process keeps up with.

        Returns: whether a whole batch was there, so that there may be more.

        Raises:
            SQLAlchemyError: the index can't be read or written.
            OSError: a log can't be read.
        """
        more = [self._follow(log, reader) for log, reader in self._own_logs().items()]
        return any(more)

    def _follow(self, log: str, reader: RecordReader) -> bool:
        with self._following:
            cursor = self._known_cursor(log, reader)
            places, after = reader.places(cursor, BATCH_RECORDS)
            if after != cursor:
                with self._database.writing() as connection:
                    _add(connection, log, places)
                    if after.segment != cursor.segment:
                        _forget_deleted(connection, log, reader)
                    connection.execute(delete(log_cursor).where(log_cursor.c.log == log))
                    connection.execute(
                        insert(log_cursor).values(log=log, segment=after.segment, at_byte=after.offset)
                    )
                self._cursors[log] = after
            return len(places) == BATCH_RECORDS

    def _known_cursor(self, log: str, reader: RecordReader) -> Cursor:
        """How far a log was read; the beginning, when it is another log than the one that was read."""
        cursor = self._cursors.get(log)
        if cursor is None:
            with self._database.reading() as connection:
                row = connection.execute(select(log_cursor).where(log_cursor.c.log == log)).first()
            cursor = Cursor(row.segment, row.at_byte) if row else Cursor()
        newest = reader.newest_segment()
        if newest is not None and newest < cursor.segment:
            with self._database.writing() as connection:
                connection.execute(delete(record_places).where(record_places.c.log == log))
            cursor = Cursor()
        self._cursors[log] = cursor
        return cursor

    async def run(self) -> None:
        """Follow the log for ever."""
        while True:
            try:
                more = await asyncio.to_thread(self.follow)
            except (SQLAlchemyError, OSError) as error:
                if not self._failing:
                    log.error("receipts can't be looked up, the index of the record log fails: %s", error)
                self._failing, more = True, False
            else:
                self._failing = False
            await asyncio.sleep(0 if more else FOLLOW_SECONDS)


def _forget_deleted(connection: Connection, log: str, reader: RecordReader) -> None:
    oldest = reader.oldest_segment()
    if oldest is not None:
        gone = (record_places.c.log == log) & (record_places.c.segment < oldest)
        connection.execute(delete(record_places).where(gone))


def _add(connection: Connection, log: str, places: Sequence[RecordPlace]) -> None:
    if not places:
        return
    rows = [
        {
            "request_id": place.request_id,
            "serves": place.client_request or place.request_id,
            "log": log,
            "segment": place.at.segment,
            "at_byte": place.at.offset,
        }
        for place in places
    ]
    connection.execute(sqlite.insert(record_places).on_conflict_do_nothing(), rows)
