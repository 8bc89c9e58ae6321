"""Counts what clients use: in memory at once, in the database a moment later."""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy.exc import SQLAlchemyError

from gateway.clock import Clock
from gateway.pseudonyms import DAY_MS
from gateway.usage_store import UsageKey, UsageStore, Used

log = logging.getLogger(__name__)


class UsageBook:
    """What each client has used today, and what of it is not stored yet.

    A gateway that is killed loses what it counted since the last `flush`, a few seconds' worth.

    Attributes:
        errors: how often the database could not be read or written.
    """

    def __init__(self, store: UsageStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._day, self._stored = "", dict[str, int]()
        self._waiting: dict[UsageKey, Used] = {}
        self._writing: Mapping[UsageKey, Used] = {}
        self._reserved = Counter[str]()
        self._failing = False
        self.errors = 0

    @property
    def waiting(self) -> int:
        """How many counts, each of a client, model and day, are not stored yet."""
        return len(self._waiting) + len(self._writing)

    def today(self) -> str:
        """The day that is counted now."""
        return _date(self._clock.unix_ms() // DAY_MS)

    def tokens_today(self, client: str) -> int:
        """What a client has used today, and may still use with the requests that are under way."""
        day = self.today()
        fresh = [*self._waiting.items(), *self._writing.items()]
        unstored = sum(used.tokens for key, used in fresh if (key.day, key.client) == (day, client))
        stored = self._stored.get(client, 0) if day == self._day else 0
        return stored + unstored + self._reserved[client]

    def reserve(self, client: str, tokens: int) -> None:
        """Count tokens of a request that begins; `release` takes them back at its end."""
        self._reserved[client] += tokens

    def release(self, client: str, tokens: int) -> None:
        """The end of what was reserved."""
        self._reserved[client] -= tokens
        if not self._reserved[client]:
            del self._reserved[client]

    def count(self, client: str, model: str, used: Used) -> None:
        """Count what one request used."""
        key = UsageKey(self.today(), client, model)
        self._waiting[key] = self._waiting.get(key, Used()) + used

    def load(self) -> None:
        """Read today's counts: those of before a restart, and of gateways that share the database. Blocks.

        Raises:
            SQLAlchemyError: the database can't be read.
        """
        self._take(*self._read())

    async def flush(self) -> None:
        """Store what waits, and read what other gateways have stored; without the database it waits on."""
        try:
            if self._waiting:
                await self._store_waiting()
            self._take(*await asyncio.to_thread(self._read))
        except SQLAlchemyError as error:
            if not self._failing:
                log.error("the use of API keys can't be stored; it is tried again: %s", error)
            self._failing = True
            self.errors += 1
        else:
            self._failing = False

    async def _store_waiting(self) -> None:
        self._writing, self._waiting = self._waiting, {}
        try:
            await asyncio.to_thread(self._store.add, self._writing)
        except SQLAlchemyError:
            self._waiting = _sum(self._writing.items(), self._waiting.items())
            raise
        else:
            for key, used in self._writing.items():
                if key.day == self._day:
                    self._stored[key.client] = self._stored.get(key.client, 0) + used.tokens
        finally:
            self._writing = {}

    def _read(self) -> tuple[str, dict[str, int]]:
        day = self.today()
        return day, self._store.tokens_on(day)

    def _take(self, day: str, stored: dict[str, int]) -> None:
        self._day, self._stored = day, stored


@lru_cache(maxsize=2)
def _date(day: int) -> str:
    """The date of a day, counted from 1970."""
    return datetime.fromtimestamp(day * DAY_MS / 1000, UTC).date().isoformat()


def _sum(*parts: Iterable[tuple[UsageKey, Used]]) -> dict[UsageKey, Used]:
    total: dict[UsageKey, Used] = {}
    for part in parts:
        for key, used in part:
            total[key] = total.get(key, Used()) + used
    return total
