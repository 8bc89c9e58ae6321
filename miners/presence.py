"""The miner's presence on chain while it serves: its axon stays published, its list of validators fresh."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from miners.admission import Admission
from miners.axon_address import AxonAddress
from shared.chain import Block, Neuron
from shared.errors import ChainError, ConfigError, RateLimited

log = logging.getLogger(__name__)

REFRESH_S = 60.0
"""Between readings of the metagraph: five blocks."""


class PresenceChain(Protocol):
    """What a miner's presence asks of the chain, as in `shared.chain.Chain`."""

    async def neurons(self) -> list[Neuron]: ...

    async def head(self) -> Block: ...

    async def serve_axon(self, ip: str, port: int) -> None: ...

    async def close(self) -> None: ...


class Presence:
    """Reads the metagraph again and again, and acts on what it shows.

    Args:
        address: where this miner can be called now; asked anew each time. May wait for a resolver.
            Raises ConfigError when that can't be said.
    """

    def __init__(
        self, chain: PresenceChain, hotkey: str, address: Callable[[], AxonAddress], admission: Admission
    ) -> None:
        self._chain, self._hotkey, self._address, self._admission = chain, hotkey, address, admission
        self._axon: AxonAddress | None = None
        self._free_at_block = 0
        self._registered = True

    async def refresh(self) -> None:
        """Take over validator permits, and publish the axon if the metagraph shows another or none.

        Raises:
            ChainError: the chain can't be reached or refuses; what was known before stays.
        """
        neurons = await self._chain.neurons()
        self._admission.update(neurons)
        own = next((neuron for neuron in neurons if neuron.hotkey == self._hotkey), None)
        self._note_registration(own)
        axon = await self._current_axon()
        if own is not None and axon is not None and own.axon != axon.text:
            await self._publish(own, axon)

    async def _current_axon(self) -> AxonAddress | None:
        try:
            axon = await asyncio.to_thread(self._address)
        except ConfigError as error:
            log.warning("the axon stays %s: %s", self._axon.text if self._axon else "as it is", error)
            return self._axon
        if self._axon is not None and axon != self._axon:
            log.warning("this miner's address has changed from %s to %s", self._axon.text, axon.text)
        self._axon = axon
        return axon

    async def _publish(self, own: Neuron, axon: AxonAddress) -> None:
        if self._free_at_block and (await self._chain.head()).number < self._free_at_block:
            return
        log.info("publishing the axon %s of uid %d (the chain shows %s)", axon.text, own.uid, own.axon)
        try:
            await self._chain.serve_axon(axon.ip, axon.port)
        except RateLimited as error:
            self._free_at_block = error.free_at_block
            log.warning("the axon %s is published at block %d: %s", axon.text, error.free_at_block, error)
            return
        self._free_at_block = 0
        log.info(
            "the axon %s is published; %d validators may call",
            axon.text,
            self._admission.number_of_validators,
        )

    def _note_registration(self, own: Neuron | None) -> None:
        if own is None and self._registered:
            log.error("the hotkey %s is no longer registered; gateways don't see this miner", self._hotkey)
        if own is not None and not self._registered:
            log.info("the hotkey %s is registered again, as uid %d", self._hotkey, own.uid)
        self._registered = own is not None

    async def run(self) -> None:
        """Refresh for ever; must be cancelled."""
        try:
            while True:
                await self._refresh_or_log()
                await asyncio.sleep(REFRESH_S)
        finally:
            await self._chain.close()

    async def _refresh_or_log(self) -> None:
        # The root of a task that must outlive anything.
        try:
            await self.refresh()
        except ChainError as error:
            log.warning("%s; trying again in %g s", error, REFRESH_S)
        except Exception:
            log.exception("refreshing from the chain failed; trying again in %g s", REFRESH_S)
