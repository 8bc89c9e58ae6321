"""Finding miners: the metagraph says who and where they are, their /health whether they can be called."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from gateway.clock import Clock
from gateway.health_probe import HealthProbe
from gateway.miners import KnownMiner, MinerListing, MinerTable
from shared.chain import Chain
from shared.errors import ChainError, ConfigError

log = logging.getLogger(__name__)

CONCURRENT_PROBES = 32
"""Health requests at once; 256 dead miners of 5 s each are through in 40 s."""

UNSERVED_RETRY_S = 3.0
"""With no miner to call, the gateway looks again this soon."""


class MinerSource(Protocol):
    """Where miners come from."""

    async def listings(self) -> Sequence[MinerListing]:
        """All miners.

        Raises:
            ChainError, ConfigError: they can't be had now.
        """
        ...


class MetagraphSource:
    """The subnet's neurons, the gateway's own hotkey left out.

    A subnet that has had neurons and has none is a node that answers wrongly, and not believed.
    """

    def __init__(self, chain: Chain, own_hotkey: str) -> None:
        self._chain, self._own_hotkey = chain, own_hotkey
        self._had_neurons = False

    async def listings(self) -> Sequence[MinerListing]:
        neurons = await self._chain.neurons()
        if self._had_neurons and not neurons:
            raise ChainError("the chain shows no neuron at all, where there were some")
        self._had_neurons = bool(neurons)
        return [MinerListing(n.uid, n.hotkey, n.axon) for n in neurons if n.hotkey != self._own_hotkey]


class Discovery:
    """Keeps a MinerTable up to date.

    Attributes:
        chain_error: why the last reading of the list failed; None when it succeeded.
        errors: how many readings failed.
    """

    def __init__(
        self, source: MinerSource, table: MinerTable, probe: HealthProbe, clock: Clock, interval_s: float
    ) -> None:
        self._source, self._table, self._probe, self._clock = source, table, probe, clock
        self._interval_s = interval_s
        self._wanted = asyncio.Event()
        self._slots = asyncio.Semaphore(CONCURRENT_PROBES)
        self._read_at_s: float | None = None
        self.chain_error: str | None = None
        self.errors = 0

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
            except Exception:
                log.exception("looking for miners failed; the list stays as it was")
            served = any(miner.callable for miner in self._table.all())
            await self._rest(self._interval_s if served else min(self._interval_s, UNSERVED_RETRY_S))

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wanted.wait()
        self._wanted.clear()

    def look_now(self) -> None:
        """Refresh without waiting for the interval's end."""
        self._wanted.set()

    async def refresh(self) -> None:
        """Read the list once and ask every miner for its health."""
        await self._read_list()
        await asyncio.gather(*(self._ask(miner) for miner in self._table.all()))

    async def _read_list(self) -> None:
        try:
            listings = await self._source.listings()
        except (ChainError, ConfigError) as error:
            self.chain_error = str(error)
            self.errors += 1
            log.warning("the list of miners can't be read, the last one stays in use: %s", error)
            return
        if self.chain_error is not None:
            log.info("the list of miners can be read again")
        self.chain_error = None
        self._read_at_s = self._clock.monotonic_s()
        known = [MinerListing(one.uid, one.hotkey, one.endpoint.url) for one in self._table.all()]
        self._table.update(listings)
        now = [MinerListing(one.uid, one.hotkey, one.endpoint.url) for one in self._table.all()]
        for words in changes(known, now):
            log.info("%s", words)

    async def _ask(self, miner: KnownMiner) -> None:
        endpoint = miner.endpoint
        async with self._slots:
            reason = await self._probe.why_not_callable(endpoint, miner.hotkey)
        if miner.endpoint != endpoint or reason == miner.why_not_callable:
            return
        log.info("miner %d (%s): %s", miner.uid, miner.hotkey, reason or "can be called")
        miner.why_not_callable = reason

    def list_age_s(self) -> float | None:
        """Seconds since the list was last read; None before the first time."""
        return None if self._read_at_s is None else self._clock.monotonic_s() - self._read_at_s


def changes(before: Sequence[MinerListing], after: Sequence[MinerListing]) -> list[str]:
    """What differs between two lists, in words, hotkey by hotkey."""
    old, new = ({one.hotkey: one for one in listings} for listings in (before, after))
    gone = [
        f"miner {one.uid} ({hotkey}) has left the list" for hotkey, one in old.items() if hotkey not in new
    ]
    both = [(old[hotkey], one) for hotkey, one in new.items() if hotkey in old]
    moved = [
        f"miner {now.uid} ({now.hotkey}) has moved from {was.axon} to {now.axon}"
        for was, now in both
        if was.axon != now.axon
    ]
    seated = [
        f"{now.hotkey} is miner {now.uid}, and was miner {was.uid}" for was, now in both if was.uid != now.uid
    ]
    return gone + moved + seated
