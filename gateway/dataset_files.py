"""GET and HEAD of a published object: ranges, conditions, caching; never a large object in memory."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from fastapi.responses import RedirectResponse, Response, StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from gateway.byte_ranges import ByteRange, byte_range
from gateway.clock import Clock
from gateway.credentials import address_prefix
from gateway.dataset_objects import DatasetObjects, ObjectFacts
from gateway.dataset_refusals import (
    dataset_overloaded,
    dataset_unavailable,
    object_not_found,
    range_not_satisfiable,
)
from gateway.published_summary import EpochRefused
from shared.errors import ObjectMissing, StoreError

log = logging.getLogger(__name__)

PIECE_BYTES = 256 << 10
"""What is held of one download at a time, besides what the connection has taken."""

READING_THREADS = 4
"""Of their own, so that no download waits in the line that inference's files and receipts use."""

MOST_DOWNLOADS = 64
MOST_DOWNLOADS_OF_ADDRESS = 16
"""At once: with their connections' buffers some 64 MB. DuckDB asks for eight ranges at a time."""

DOWNLOAD_S = 600.0
"""After which a download is cut: a reader that takes nothing does not keep its place for ever."""

LASTING = "public, max-age=31536000, immutable"
PASSING = "public, max-age=5"

ANYBODY = {"access-control-allow-origin": "*"}
"""Pages of other hosts may read what is published for everybody."""

T = TypeVar("T")


class DatasetFiles:
    """Serves the objects of a store.

    Args:
        public_url: where the bucket itself serves them; readers are sent there.
    """

    def __init__(self, objects: DatasetObjects, public_url: str | None, clock: Clock) -> None:
        self._objects, self._clock = objects, clock
        self._public_url = public_url.rstrip("/") if public_url else None
        self._threads = ThreadPoolExecutor(READING_THREADS, "dataset")
        self._downloads: Counter[str] = Counter()

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_thread(self, work: Callable[[], T]) -> T:
        """Have something done by the threads that read the dataset."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def answer(self, request: Request, key: str, lasting: bool = True) -> Response:
        """The object, a range of it, or that the client has it already.

        Args:
            lasting: False: under this address there will be another object soon.

        Raises:
            ApiError: 404; there is no such object. 416; it ends before the range. 503; the store can't be
                read, or too many read at once.
        """
        facts = await self._ask(key, partial(self._objects.facts, key))
        lasting = lasting and facts.lasting
        if self._public_url is not None:
            cache = {"cache-control": "public, max-age=3600" if lasting else PASSING}
            return RedirectResponse(f"{self._public_url}/{key}", 307, cache | ANYBODY)
        headers = ANYBODY | {
            "etag": f'"{facts.sha256}"',
            "cache-control": LASTING if lasting else PASSING,
            "accept-ranges": "bytes",
        }
        if has_already(request, facts.sha256):
            return Response(status_code=304, headers=headers)
        wanted = byte_range(_range_asked(request, facts.sha256), facts.size)
        if wanted is None:
            raise range_not_satisfiable(facts.size)
        if not wanted.whole:
            headers["content-range"] = wanted.content_range
        headers["content-length"] = str(wanted.length)
        status = 200 if wanted.whole else 206
        if request.method == "HEAD" or not wanted.length:
            return Response(None, status, headers, facts.media_type)
        return await self._download(request, facts, wanted, status, headers)

    async def _download(
        self, request: Request, facts: ObjectFacts, wanted: ByteRange, status: int, headers: dict[str, str]
    ) -> Response:
        address = address_prefix(request.scope)
        if self._downloads.total() >= MOST_DOWNLOADS or self._downloads[address] >= MOST_DOWNLOADS_OF_ADDRESS:
            raise dataset_overloaded()
        first = await self._piece(facts.key, wanted.start, wanted.length)
        pieces = self._pieces(address, facts.key, wanted, first)
        return StreamingResponse(pieces, status, headers, facts.media_type)

    async def _piece(self, key: str, start: int, left: int) -> bytes:
        return await self._ask(key, partial(self._objects.read, key, start, min(left, PIECE_BYTES)))

    async def _pieces(self, address: str, key: str, wanted: ByteRange, first: bytes) -> AsyncIterator[bytes]:
        with self._counted(address):
            ends_s = self._clock.monotonic_s() + DOWNLOAD_S
            at, end, piece = wanted.start, wanted.start + wanted.length, first
            while True:
                yield piece
                at += len(piece)
                if at >= end:
                    return
                if self._clock.monotonic_s() > ends_s:
                    raise StoreError(f"sending {key} took longer than {DOWNLOAD_S:g} s; the download is cut")
                piece = await self._piece(key, at, end - at)

    @contextmanager
    def _counted(self, address: str) -> Iterator[None]:
        self._downloads[address] += 1
        try:
            yield
        finally:
            self._downloads[address] -= 1
            if not self._downloads[address]:
                del self._downloads[address]

    async def _ask(self, key: str, work: Callable[[], T]) -> T:
        try:
            return await self.in_thread(work)
        except ObjectMissing:
            raise object_not_found(key[:256]) from None
        except (StoreError, EpochRefused, SQLAlchemyError) as error:
            log.error("%s can't be served: %s", key, error)
            raise dataset_unavailable("the store can't be read") from None


def has_already(request: Request, sha256: str) -> bool:
    """Whether the client says that it has what has this digest."""
    named = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in named.split(",")}
    return bool(tags & {f'"{sha256}"', "*"})


def _range_asked(request: Request, sha256: str) -> str | None:
    """The Range header of a GET, unless it is for another version than the one that lies there."""
    if request.method != "GET":
        return None
    expected: Any = request.headers.get("if-range")
    if expected is not None and expected.strip() != f'"{sha256}"':
        return None
    return request.headers.get("range")
