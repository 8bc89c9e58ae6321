"""Follows the published epochs beside serving: each is read once, oldest first, in a thread."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy.exc import SQLAlchemyError

from gateway.epoch_store import EpochStore, KnownEpoch
from gateway.published_epochs import PublishedEpochs
from gateway.published_summary import EpochRefused, FoundSummary
from gateway.receipt_database import RECEIPTS_FILE
from gateway.standings import Standings
from shared.errors import ChainError, StoreError

log = logging.getLogger(__name__)

MAX_CATCH_UP_EPOCHS = 60
"""How far back a gateway reads that has missed epochs, or starts: a day of 25-minute epochs."""

Publishes = Callable[[str], Awaitable[bool]]
"""Whether a hotkey may publish what this gateway follows; raises ChainError when that can't be known."""

_TROUBLES: Mapping[type[Exception], str] = {
    EpochRefused: "what is published is not believed",
    StoreError: "the store can't be read",
    ChainError: "the chain can't be asked who may publish",
    SQLAlchemyError: "the gateway can't store what it reads",
}


class EpochFollower:
    """Keeps an EpochStore and the Standings up to date.

    Attributes:
        trouble: why the newest look failed, in words for clients, which name no place; None when it did not.
    """

    def __init__(
        self,
        published: PublishedEpochs,
        store: EpochStore,
        standings: Standings,
        gateway_hotkey: str,
        publishes: Publishes,
        poll_seconds: float,
    ) -> None:
        self._published, self._store, self._standings = published, store, standings
        self._gateway_hotkey, self._publishes, self._poll_seconds = gateway_hotkey, publishes, poll_seconds
        self.trouble: str | None = None
        self._logged: str | None = None
        self._restored: KnownEpoch | None = None

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            await self.step()
            await asyncio.sleep(self._poll_seconds)

    async def step(self) -> None:
        """Look once; what fails is logged, and told with answers until a look succeeds."""
        try:
            await self.look()
        except tuple(_TROUBLES) as error:
            if self._logged != str(error):
                log.error("published epochs can't be followed: %s", error)
            self._logged = str(error)
            self.trouble = next(words for kind, words in _TROUBLES.items() if isinstance(error, kind))
        else:
            self.trouble = self._logged = None

    async def look(self) -> None:
        """Read what has been published since the last look.

        Raises:
            EpochRefused: it can't be believed, and nothing of it is taken over.
            StoreError: the store can't be read.
            ChainError: who may publish can't be read from the chain.
            SQLAlchemyError: the gateway's own file can't be used.
        """
        newest = await asyncio.to_thread(self._newest)
        if newest is None:
            return
        publisher = newest.summary.publisher
        if not await self._publishes(publisher):
            raise EpochRefused(
                f"epoch {newest.summary.epoch} is published by {publisher}, which has no validator permit or "
                "is not the --publisher"
            )
        await asyncio.to_thread(self._take, newest)

    def _newest(self) -> FoundSummary | None:
        """The newest summary; None when it is known, or nothing is published."""
        pointer, known = self._published.pointer(), self._store.newest()
        if known != self._restored:
            self.restore()
        if pointer is None or (known and (known.number, known.digest) == (pointer.epoch, pointer.digest)):
            return None
        return self._published.summary(pointer.epoch, pointer.digest)

    def _take(self, newest: FoundSummary) -> None:
        publisher = newest.summary.publisher
        for number, digest in self._unread(newest, self._last_of(publisher)):
            found = self._published.summary(number, digest)
            if found.summary.publisher != publisher:
                raise EpochRefused(
                    f"epoch {number} is by {found.summary.publisher}, a later one by {publisher}"
                )
            findings = self._published.findings(found.summary, self._gateway_hotkey)
            self._store.add(found, findings)
            log.info("epoch %d is read: %d requests are this gateway's", number, len(findings.own))
        self.restore()

    def restore(self) -> None:
        """Take the standings from what was read last, by this process or by one that shares its state folder.
        Blocks; call it once before the first look."""
        self._restored = self._store.newest()
        self._standings.replace(self._store.standings())

    def _last_of(self, publisher: str) -> KnownEpoch | None:
        last = self._store.newest()
        if last is not None and last.publisher != publisher:
            log.warning(
                "%s publishes now, %s did before, whose epochs are forgotten", publisher, last.publisher
            )
            self._store.forget_all()
            return None
        return last

    def _unread(self, newest: FoundSummary, last: KnownEpoch | None) -> list[tuple[int, str]]:
        """(number, digest) of the epochs after the last known one, oldest first, each named by the next.

        Raises:
            EpochRefused: they do not descend from the one that is known.
        """
        if last is not None and newest.summary.epoch <= last.number:
            raise EpochRefused(
                f"epoch {newest.summary.epoch} is said to be the newest, but epoch {last.number} was read "
                f"before; if its publisher began anew, stop the gateway and delete {RECEIPTS_FILE} in its "
                "state folder"
            )
        chain, summary = [(newest.summary.epoch, newest.digest)], newest.summary
        while len(chain) < MAX_CATCH_UP_EPOCHS and summary.previous_digest is not None:
            before = summary.epoch - 1
            if last is not None and before == last.number:
                if summary.previous_digest != last.digest:
                    raise EpochRefused(f"epoch {summary.epoch} does not descend from epoch {before} as read")
                break
            chain.append((before, summary.previous_digest))
            summary = self._published.summary(before, summary.previous_digest).summary
        return chain[::-1]
