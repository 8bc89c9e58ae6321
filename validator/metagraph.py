"""The subnet's neurons as last read."""

import logging
from collections.abc import Sequence

from shared.chain import Chain, Neuron

log = logging.getLogger(__name__)


class Metagraph:
    """Neurons of the subnet; hotkeys are unique in it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._neurons: dict[str, Neuron] = {}

    async def refresh(self) -> Sequence[Neuron]:
        """Read the metagraph.

        Raises:
            ChainError: the chain can't be read; what was known stays.
        """
        neurons = await self._chain.neurons()
        self._neurons = {neuron.hotkey: neuron for neuron in neurons}
        return neurons

    def neuron(self, hotkey: str) -> Neuron | None:
        """The neuron of a hotkey, if it was registered at the last reading."""
        return self._neurons.get(hotkey)
