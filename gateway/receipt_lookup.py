"""GET /v1/receipts/{request_id}: the way from an answer to its miner, its signed receipt and its audit.

Whoever has the id may read: ids are 122 random bits, which only the client is told, and at the end of the
epoch the same facts are published for everybody.
"""

import asyncio
import logging
import re

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Scope

from gateway.address_limits import AddressLimits
from gateway.clock import Clock
from gateway.epoch_follower import EpochFollower
from gateway.epoch_store import EpochStore
from gateway.errors import receipt_not_found, receipts_unavailable
from gateway.inclusion_answers import inclusion, not_included
from gateway.receipt_answers import NOT_FOLLOWED, answer, audited, not_published
from gateway.record_index import RecordIndex
from shared.records import RequestRecord

log = logging.getLogger(__name__)

LOOKUPS_PER_MINUTE = 600
"""Of one address: what a program needs that traces each of its answers."""

CONCURRENT_LOOKUPS = 2
"""Each holds records of some megabytes at most, and one of the few threads that the log is synced in too."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class ReceiptLookup:
    """Answers questions about requests.

    Args:
        follower: keeps `epochs` up to date; None when the gateway was not told where epochs are published.
    """

    def __init__(
        self, index: RecordIndex, epochs: EpochStore, follower: EpochFollower | None, clock: Clock
    ) -> None:
        self._index, self._epochs, self._follower, self._clock = index, epochs, follower, clock
        self._limits = AddressLimits(LOOKUPS_PER_MINUTE, clock)
        self._slots = asyncio.Semaphore(CONCURRENT_LOOKUPS)

    async def answer(self, scope: Scope, request_id: str) -> dict[str, object]:
        """What is known of the request; `scope` says who asks.

        Raises:
            ApiError: 404; there is no such request. 429; the address asks too often. 503; the log can't be
                read now.
        """
        self._limits.take(scope)
        if not _REQUEST_ID.fullmatch(request_id):
            raise receipt_not_found(request_id[:64])
        async with self._slots:
            try:
                return await asyncio.to_thread(self._look, request_id)
            except (SQLAlchemyError, OSError) as error:
                log.error("the receipt of %s can't be looked up: %s", request_id, error)
                raise receipts_unavailable("its index of requests can't be read") from None

    def _look(self, request_id: str) -> dict[str, object]:
        attempts = self._index.find(request_id)
        record = next((one for one in attempts if one.request_id == request_id), None)
        if record is None:
            if self._index.is_behind():
                raise receipts_unavailable("it is still reading its log")
            raise receipt_not_found(request_id)
        found = None if self._follower is None else self._epochs.find(record.request_id)
        if found is not None:
            return answer(request_id, attempts, audited(found, record), inclusion(found, record))
        audit = self._not_published(record)
        return answer(request_id, attempts, audit, not_included(audit))

    def _not_published(self, record: RequestRecord) -> dict[str, object]:
        if self._follower is None:
            return dict(NOT_FOLLOWED)
        oldest, newest = self._epochs.oldest(), self._epochs.newest()
        return not_published(record, oldest, newest, self._clock.unix_ms(), self._follower.trouble)


def add_receipt_routes(app: FastAPI, lookup: ReceiptLookup) -> None:
    """GET /v1/receipts/<request id>."""

    @app.get("/v1/receipts/{request_id}")
    async def receipt(request: Request, request_id: str) -> JSONResponse:
        found = await lookup.answer(request.scope, request_id)
        return JSONResponse(found, headers={"cache-control": "no-store"})
