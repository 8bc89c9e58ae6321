"""Before a miner is blamed for not answering: could the fault be the auditor's own?"""

from shared.chain import Chain
from shared.errors import ChainError


class OwnFault:
    """Rules out that the auditor's network is down or that its hotkey lacks the permit miners ask for."""

    def __init__(self, chain: Chain, hotkey: str) -> None:
        self._chain, self._hotkey = chain, hotkey

    async def rule_out(self) -> None:
        """Return when nothing speaks for a fault of our own.

        Raises:
            ChainUnavailable: not even the chain can be reached.
            ChainError: miners are right to refuse this hotkey.
        """
        neurons = await self._chain.neurons()
        own = next((neuron for neuron in neurons if neuron.hotkey == self._hotkey), None)
        if own is None or not own.validator_permit:
            state = "is not registered on the subnet" if own is None else "has no validator permit"
            raise ChainError(
                f"the auditor's hotkey {self._hotkey} {state}, so miners refuse its challenges: "
                "register it and add stake",
                "NeuronNoValidatorPermit",
            )
