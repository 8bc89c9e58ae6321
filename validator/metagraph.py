"""The subnet's neurons as last read, and what has changed in them since, told in words."""

import logging
from collections.abc import Mapping, Sequence

from shared.chain import Chain, Neuron

log = logging.getLogger(__name__)

TOLD_CHANGES = 20
"""Of more changes in one reading only the number is told: then it is another subnet, or the first reading
after a long time."""


class Metagraph:
    """Neurons of the subnet; hotkeys are unique in it.

    Args:
        own_hotkey: whose registration and permit are watched; nobody's where it is empty.
    """

    def __init__(self, chain: Chain, own_hotkey: str = "") -> None:
        self._chain, self._own_hotkey = chain, own_hotkey
        self._neurons: dict[str, Neuron] = {}
        self._standing = ""

    async def refresh(self) -> Sequence[Neuron]:
        """Read the metagraph.

        Raises:
            ChainError: the chain can't be read; what was known stays.
        """
        neurons = await self._chain.neurons()
        before, self._neurons = self._neurons, {neuron.hotkey: neuron for neuron in neurons}
        if before:
            _tell(changes(before, self._neurons))
        if self._own_hotkey:
            self._tell_standing(standing(self._neurons.get(self._own_hotkey)))
        return neurons

    def _tell_standing(self, words: str) -> None:
        if words and words != self._standing:
            log.error("the hotkey %s %s", self._own_hotkey, words)
        if self._standing and not words:
            log.info("the hotkey %s is registered and has its validator permit again", self._own_hotkey)
        self._standing = words

    def neuron(self, hotkey: str) -> Neuron | None:
        """The neuron of a hotkey, if it was registered at the last reading."""
        return self._neurons.get(hotkey)


def standing(own: Neuron | None) -> str:
    """What is wrong with a validator's own neuron, and its cure; empty when nothing is."""
    if own is None:
        return "is not registered on the subnet: register it with btcli subnets register"
    if not own.validator_permit:
        return (
            "has no validator permit, so that miners refuse its challenges and the chain its weights: "
            "add stake to it"
        )
    return ""


def changes(before: Mapping[str, Neuron], after: Mapping[str, Neuron]) -> list[str]:
    """Who has come, left, changed uids, moved, or lost or got a permit, a sentence each."""
    holders = {neuron.uid: hotkey for hotkey, neuron in before.items()}
    return [
        *(_left(gone) for hotkey, gone in before.items() if hotkey not in after),
        *(_came(new, holders.get(new.uid)) for hotkey, new in after.items() if hotkey not in before),
        *(
            words
            for hotkey, now in after.items()
            if hotkey in before
            for words in _altered(before[hotkey], now)
        ),
    ]


def _left(gone: Neuron) -> str:
    return f"{gone.hotkey}, uid {gone.uid}, has left the subnet"


def _came(new: Neuron, holder: str | None) -> str:
    return f"{new.hotkey} is new, as uid {new.uid}" + (f", which was {holder}'s" if holder else "")


def _altered(was: Neuron, now: Neuron) -> list[str]:
    words = []
    if was.uid != now.uid:
        words.append(f"{now.hotkey} has uid {now.uid} instead of {was.uid}")
    if was.axon != now.axon:
        words.append(f"{now.hotkey}, uid {now.uid}, has moved from {was.axon} to {now.axon}")
    if was.validator_permit != now.validator_permit:
        verb = "got" if now.validator_permit else "lost"
        words.append(f"{now.hotkey}, uid {now.uid}, has {verb} its validator permit")
    return words


def _tell(told: Sequence[str]) -> None:
    for words in told[:TOLD_CHANGES]:
        log.info("%s", words)
    if len(told) > TOLD_CHANGES:
        log.info("and %d more changes of the metagraph", len(told) - TOLD_CHANGES)
