"""Sends alerts to an operator's webhook, beside everything else: nothing ever waits for it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from shared.alerts import Alert, AlertBook

log = logging.getLogger(__name__)

LOOK_S = 10.0
POST_DEADLINE_S = 10.0

LONGEST_RETRY_S = 300.0
"""A webhook that fails is tried again after 10 s, then twice as long each time, up to this."""

Troubles = Callable[[], Mapping[str, str]]
"""What is wrong now, in words by subject; quick, and does not raise."""


@dataclass(frozen=True)
class Sender:
    """Which process speaks: "auditor", "gateway", "miner" or "watchtower", and its hotkey."""

    process: str
    hotkey: str


class AlertWebhook:
    """Looks at the troubles again and again, and posts what is due.

    Args:
        url: where to; it is never logged, because its path is mostly the secret.
    """

    def __init__(
        self,
        url: str,
        sender: Sender,
        troubles: Troubles,
        http: httpx.AsyncClient,
        book: AlertBook | None = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url, self._sender, self._troubles, self._http = url, sender, troubles, http
        self._book, self._now_ms, self._sleep = book or AlertBook(), now_ms, sleep
        self._failures = 0

    async def run(self) -> None:
        """Look for ever; must be cancelled."""
        while True:
            try:
                await self.look()
            except Exception:
                # The root of a task that must outlive anything.
                log.exception("alerting failed; it goes on in %g s", LOOK_S)
            await self._sleep(min(LOOK_S * 2**self._failures, LONGEST_RETRY_S))

    async def look(self) -> None:
        """Post what is due now; what does not arrive is due again at the next look."""
        for alert in self._book.due(self._troubles(), self._now_ms()):
            if not await self._arrives(alert):
                return
            self._book.delivered(alert, self._now_ms())

    async def _arrives(self, alert: Alert) -> bool:
        body = alert.body(self._sender.process, self._sender.hotkey)
        try:
            response = await self._http.post(self._url, json=body, timeout=POST_DEADLINE_S)
        except httpx.HTTPError as error:
            return self._failed(type(error).__name__)
        if not response.is_success:
            return self._failed(f"HTTP {response.status_code}")
        self._failures = 0
        return True

    def _failed(self, reason: str) -> bool:
        if self._failures == 0:
            log.warning(
                "the alert webhook at %s does not take alerts (%s); they are tried again",
                urlsplit(self._url).hostname,
                reason,
            )
        self._failures += 1
        return False


@asynccontextmanager
async def alerting(url: str | None, sender: Sender, troubles: Troubles) -> AsyncIterator[None]:
    """Alert beside the block, if there is a webhook."""
    if url is None:
        yield
        return
    async with httpx.AsyncClient(follow_redirects=False, trust_env=False) as http:
        task = asyncio.create_task(AlertWebhook(url, sender, troubles, http).run(), name="alerts")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
