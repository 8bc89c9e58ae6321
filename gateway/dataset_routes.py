"""The public read of what is published: GET /v1/dataset/…, /v1/epochs, /v1/scoreboard, /v1/miners/….

Without a key and for everybody. Answers in JSON are made once for each newest epoch and kept, so that asking
again costs no query.
"""

import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.responses import Response
from sqlalchemy.exc import SQLAlchemyError

from gateway import dataset_answers as answers
from gateway.clock import Clock
from gateway.dataset_files import ANYBODY, DatasetFiles, has_already
from gateway.dataset_objects import epoch_of
from gateway.dataset_refusals import (
    dataset_unavailable,
    epoch_not_found,
    miner_not_found,
    no_dataset,
    nothing_published,
    object_not_found,
)
from gateway.dataset_store import MOST_EPOCHS_OF_PAGE, DatasetStore, Known
from gateway.errors import ApiError, invalid_request
from gateway.published_epochs import LATEST_KEY
from shared.canonical import sha256_hex

log = logging.getLogger(__name__)

JSON_CACHE = "public, max-age=10"
KNOWN_AGE_S = 1.0
"""How old the knowledge of the newest epoch may be."""

KEPT_BYTES = 32 << 20
"""Of answers that are kept."""

PAGE = 20
"""Epochs of a page, if the client does not say how many."""

_HOTKEY = re.compile(r"[1-9A-HJ-NP-Za-km-z]{46,50}")
_NUMBER = re.compile(r"[1-9]\d{0,9}")

Making = Callable[[Known], dict[str, Any] | ApiError]


@dataclass(frozen=True)
class _Kept:
    body: bytes
    sha256: str


class PublicDataset:
    """Answers the questions.

    Args:
        place: below which readers find the store's keys.
        trouble: says why the newest look at the store failed.
    """

    def __init__(
        self,
        store: DatasetStore,
        files: DatasetFiles,
        place: str,
        store_by_default: bool,
        trouble: Callable[[], str | None],
        clock: Clock,
    ) -> None:
        self.files = files
        self._store, self._place, self._clock = store, place, clock
        self._store_by_default, self._trouble = store_by_default, trouble
        self._known: Known | None = None
        self._known_at_s: float | None = None
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._kept_bytes = 0

    async def index(self, request: Request) -> Response:
        """What there is, and how it is read."""
        trouble = self._trouble()

        def make(known: Known) -> dict[str, Any]:
            epoch = self._store.epoch(known.newest) or {}
            manifest = self._store.manifest()
            return answers.index(known, epoch, manifest, self._place, self._store_by_default, trouble)

        return await self._answer(request, f"index {trouble}", make)

    async def epochs(self, request: Request, with_files: bool) -> Response:
        """A page of epochs, newest first: what happened, or where their objects are."""
        before, limit = _before(request), _limit(request)
        path = "/v1/dataset/epochs" if with_files else "/v1/epochs"

        def make(known: Known) -> dict[str, Any]:
            page = self._store.epochs(before, limit)
            told = [
                answers.epoch_files(row, self._place) if with_files else answers.summary_of(row)
                for row in page.rows
            ]
            return answers.listing(told, page, path, limit)

        return await self._answer(request, f"{path} {before} {limit}", make)

    async def epoch(self, request: Request, asked: str) -> Response:
        """One epoch with its files and scores."""
        number = int(asked) if _NUMBER.fullmatch(asked) else None

        def make(known: Known) -> dict[str, Any] | ApiError:
            row = self._store.epoch(number) if number is not None else None
            if row is None or number is None:
                return epoch_not_found(asked[:20], known.oldest, known.newest)
            files = answers.epoch_files(row, self._place)
            scores = self._store.scores(number)
            return {"object": "epoch"} | answers.summary_of(row) | {"files": files["files"], "scores": scores}

        return await self._answer(request, f"epoch {number}", make)

    async def scoreboard(self, request: Request) -> Response:
        """The newest epoch's scores."""

        def make(known: Known) -> dict[str, Any]:
            epoch = self._store.epoch(known.newest) or {}
            return answers.scoreboard(epoch, self._store.scores(known.newest))

        return await self._answer(request, "scoreboard", make)

    async def miner(self, request: Request, hotkey: str) -> Response:
        """A miner's history, newest epoch first."""
        before, limit = _before(request), _limit(request)
        is_hotkey = _HOTKEY.fullmatch(hotkey) is not None

        def make(known: Known) -> dict[str, Any] | ApiError:
            if not is_hotkey or not self._store.has_scored(hotkey):
                return miner_not_found(hotkey[:64], known.oldest, known.newest)
            return answers.miner(hotkey, self._store.miner(hotkey, before, limit), limit)

        return await self._answer(request, f"miner {hotkey[:64]} {before} {limit}", make)

    async def latest(self, request: Request) -> Response:
        """The newest summary as it is published."""
        known = await self._newest()
        return await self.files.answer(request, f"epochs/{known.newest}.json", lasting=False)

    async def file(self, request: Request, key: str) -> Response:
        """One object of the store."""
        if key != LATEST_KEY and epoch_of(key) is None:
            raise object_not_found(key[:256])
        return await self.files.answer(request, key)

    async def _newest(self) -> Known:
        now_s = self._clock.monotonic_s()
        if self._known_at_s is None or now_s - self._known_at_s >= KNOWN_AGE_S:
            self._known = await self._query(self._store.known)
            self._known_at_s = now_s
        if self._known is None:
            raise nothing_published()
        return self._known

    async def _answer(self, request: Request, name: str, make: Making) -> Response:
        known = await self._newest()
        kept = self._kept.get((name, known.digest))
        if kept is None:
            made = await self._query(lambda: _rendered(make(known)))
            if isinstance(made, ApiError):
                raise made
            kept = made
            self._keep((name, known.digest), kept)
        headers = ANYBODY | {"etag": f'"{kept.sha256}"', "cache-control": JSON_CACHE}
        if has_already(request, kept.sha256):
            return Response(status_code=304, headers=headers)
        return Response(kept.body, 200, headers, "application/json")

    def _keep(self, name: tuple[str, str], kept: _Kept) -> None:
        before = self._kept.pop(name, None)
        self._kept[name] = kept
        self._kept_bytes += len(kept.body) - (len(before.body) if before else 0)
        while self._kept_bytes > KEPT_BYTES:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone.body)

    async def _query(self, work: Callable[[], Any]) -> Any:
        try:
            return await self.files.in_thread(work)
        except SQLAlchemyError as error:
            log.error("what is known of epochs can't be read: %s", error)
            raise dataset_unavailable("its index of epochs can't be read") from None


def _rendered(made: dict[str, Any] | ApiError) -> _Kept | ApiError:
    if isinstance(made, ApiError):
        return made
    body = orjson.dumps(made)
    return _Kept(body, sha256_hex(body))


def _before(request: Request) -> int | None:
    asked = request.query_params.get("before")
    if asked is None:
        return None
    if not _NUMBER.fullmatch(asked):
        raise invalid_request("before must be the number of an epoch.", "before")
    return int(asked)


def _limit(request: Request) -> int:
    asked = request.query_params.get("limit", str(PAGE))
    if not _NUMBER.fullmatch(asked) or int(asked) > MOST_EPOCHS_OF_PAGE:
        raise invalid_request(f"limit must be a whole number from 1 to {MOST_EPOCHS_OF_PAGE}.", "limit")
    return int(asked)


def add_dataset_routes(app: FastAPI, dataset: PublicDataset | None) -> None:
    """Serve them; without a dataset each says that there is none."""

    def served() -> PublicDataset:
        if dataset is None:
            raise no_dataset()
        return dataset

    async def index(request: Request) -> Response:
        return await served().index(request)

    async def dataset_epochs(request: Request) -> Response:
        return await served().epochs(request, with_files=True)

    async def latest(request: Request) -> Response:
        return await served().latest(request)

    async def file(request: Request, key: str) -> Response:
        return await served().file(request, key)

    async def epochs(request: Request) -> Response:
        return await served().epochs(request, with_files=False)

    async def epoch(request: Request, number: str) -> Response:
        return await served().epoch(request, number)

    async def scoreboard(request: Request) -> Response:
        return await served().scoreboard(request)

    async def miner(request: Request, hotkey: str) -> Response:
        return await served().miner(request, hotkey)

    for path, handler in (
        ("/v1/dataset/", index),
        ("/v1/dataset/epochs", dataset_epochs),
        ("/v1/dataset/latest", latest),
        (answers.FILES_PATH + "/{key:path}", file),
        ("/v1/epochs", epochs),
        ("/v1/epochs/{number}", epoch),
        ("/v1/scoreboard", scoreboard),
        ("/v1/miners/{hotkey}", miner),
    ):
        app.add_api_route(path, handler, methods=["GET", "HEAD"], response_model=None)
