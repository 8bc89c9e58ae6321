"""The chain as the miner's presence reads it, and what its last reading says is wrong."""

from miners.axon_address import AxonAddress
from miners.presence import PresenceChain
from shared.chain import Block, Neuron
from shared.errors import ChainError


class ChainWatch:
    """A chain that passes everything on to another, and remembers what it saw of the miner `hotkey`."""

    def __init__(self, chain: PresenceChain, hotkey: str) -> None:
        self._chain, self._hotkey = chain, hotkey
        self._failure: str | None = None
        self._announced: str | None = None
        self._own: Neuron | None = None
        self._read = False

    def troubles(self) -> dict[str, str]:
        """What is wrong by the last reading, in words by subject."""
        found: dict[str, str] = {}
        if self._failure is not None:
            found["chain"] = self._failure
        if self._read and self._own is None:
            found["registration"] = "the hotkey is not registered; gateways don't see this miner"
        elif self._own is not None and self._announced not in (None, self._own.axon):
            found["axon"] = f"the chain shows {self._own.axon}, this miner announces {self._announced}"
        return found

    async def neurons(self) -> list[Neuron]:
        try:
            neurons = await self._chain.neurons()
        except ChainError as error:
            self._failure = str(error)
            raise
        self._failure, self._read = None, True
        self._own = next((neuron for neuron in neurons if neuron.hotkey == self._hotkey), None)
        return neurons

    async def serve_axon(self, ip: str, port: int) -> None:
        self._announced = AxonAddress(ip, port).text
        await self._chain.serve_axon(ip, port)

    async def head(self) -> Block:
        return await self._chain.head()

    async def close(self) -> None:
        await self._chain.close()
