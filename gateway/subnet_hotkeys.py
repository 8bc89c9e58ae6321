"""Which hotkeys are on the subnet, and which hold a validator permit: from the metagraph, kept a while."""

import asyncio
from collections.abc import Mapping

from gateway.clock import Clock
from shared.chain import Chain, Neuron

MAX_AGE_S = 60.0
"""Permits change at most once a tempo of 72 minutes; who has just registered is known a minute later."""


class SubnetHotkeys:
    """Reads the metagraph when it is asked and what it knows is too old."""

    def __init__(self, chain: Chain, clock: Clock) -> None:
        self._chain, self._clock = chain, clock
        self._reading = asyncio.Lock()
        self._neurons: Mapping[str, Neuron] = {}
        self._read_at_s: float | None = None

    async def neuron(self, hotkey: str) -> Neuron | None:
        """The neuron of a hotkey; None when it is not registered.

        Raises:
            ChainError: the metagraph can't be read.
        """
        async with self._reading:
            now_s = self._clock.monotonic_s()
            if self._read_at_s is None or now_s - self._read_at_s >= MAX_AGE_S:
                self._neurons = {one.hotkey: one for one in await self._chain.neurons()}
                self._read_at_s = now_s
        return self._neurons.get(hotkey)

    async def holds_permit(self, hotkey: str) -> bool:
        """Whether a hotkey is a validator.

        Raises:
            ChainError: the metagraph can't be read.
        """
        found = await self.neuron(hotkey)
        return found is not None and found.validator_permit
