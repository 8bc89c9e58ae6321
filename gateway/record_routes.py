"""GET /v1/records: the gateway's record log, for the auditors of its operator that run elsewhere.

Records hold what clients wrote. So they go to the gateway's own hotkey and to those that its operator lists,
and to every validator only where the operator says so.
"""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from gateway.errors import invalid_request
from gateway.record_refusals import may_not_read_records, records_unavailable
from gateway.subnet_hotkeys import SubnetHotkeys
from shared.errors import ChainError, SignatureMismatch
from shared.peer_auth import RequestVerifier
from shared.record_feed import (
    LOGS_PATH,
    MOST_BYTES,
    MOST_LINES,
    OFFSET_HEADER,
    RECORDS_PATH,
    SEGMENT_HEADER,
)
from shared.record_log import Cursor, RecordReader

log = logging.getLogger(__name__)

MOST_DIGITS = 15
_PRIVATE = {"cache-control": "no-store"}


class RecordAccess:
    """The record log, and who may read it.

    Args:
        hotkeys: says which hotkeys are validators; None keeps the log from those that are not listed.
    """

    def __init__(
        self, folder: Path, own_hotkey: str, trusted: Iterable[str], hotkeys: SubnetHotkeys | None
    ) -> None:
        self._reader = RecordReader(folder)
        self._trusted, self._hotkeys = frozenset({own_hotkey, *trusted}), hotkeys
        self._verifier = RequestVerifier(own_hotkey)

    async def check(self, request: Request) -> None:
        """Let only those pass who may read the log.

        Raises:
            ApiError: 403, or 503 while nobody can say whether the caller is a validator.
        """
        query = request.url.query
        target = request.url.path + (f"?{query}" if query else "")
        try:
            caller = self._verifier.sender(dict(request.headers), "GET", target, b"")
        except SignatureMismatch as error:
            raise may_not_read_records(str(error)) from None
        if caller not in self._trusted and not await self._is_validator(caller):
            raise may_not_read_records(f"this gateway does not trust {caller}")

    async def _is_validator(self, hotkey: str) -> bool:
        try:
            return self._hotkeys is not None and await self._hotkeys.holds_permit(hotkey)
        except ChainError as error:
            log.warning("a validator can't read the records, the metagraph can't be read: %s", error)
            raise records_unavailable() from None

    def logs(self) -> list[str]:
        """The names of the logs: "" and those of workers. Blocks."""
        return ["", *self._reader.workers()]

    def lines(self, name: str, cursor: Cursor, limit: int) -> tuple[bytes, Cursor]:
        """Whole lines of one log and the cursor behind them. Blocks.

        Raises:
            ApiError: 400; there is no such log.
        """
        reader = self._reader if not name else self._reader.workers().get(name)
        if reader is None:
            raise invalid_request("There is no record log of that name; /v1/records/logs lists them.", "log")
        lines, after = reader.lines(cursor, limit, MOST_BYTES)
        return b"".join(lines), after


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > MOST_DIGITS:
        raise invalid_request(f"{name} must be a whole number.", name)
    return int(text)


def add_record_routes(app: FastAPI, access: RecordAccess) -> None:
    """GET /v1/records and GET /v1/records/logs."""

    @app.get(LOGS_PATH)
    async def logs(request: Request) -> JSONResponse:
        await access.check(request)
        return JSONResponse({"logs": await asyncio.to_thread(access.logs)}, headers=_PRIVATE)

    @app.get(RECORDS_PATH)
    async def records(request: Request) -> Response:
        await access.check(request)
        cursor = Cursor(_number(request, "segment", 0), _number(request, "offset", 0))
        limit = min(_number(request, "limit", MOST_LINES), MOST_LINES)
        name = request.query_params.get("log", "")
        try:
            lines, after = await asyncio.to_thread(access.lines, name, cursor, limit)
        except OSError as error:
            log.error("the record log can't be read: %s", error)
            raise records_unavailable() from None
        headers = {SEGMENT_HEADER: str(after.segment), OFFSET_HEADER: str(after.offset)}
        return Response(lines, headers=headers | _PRIVATE, media_type="application/x-ndjson")
