"""Whom the miner serves: hotkeys with a validator permit, and those that its operator lists."""

from collections.abc import Iterable, Sequence

from shared.chain import Neuron


class Admission:
    """The hotkeys that may call; the list of the last readable metagraph stays when the chain is away."""

    def __init__(self, listed: Iterable[str], neurons: Sequence[Neuron] = ()) -> None:
        self._listed = frozenset(listed)
        self._validators: frozenset[str] = frozenset()
        self.update(neurons)

    def update(self, neurons: Sequence[Neuron]) -> None:
        """Take over the validator permits of a metagraph."""
        self._validators = frozenset(neuron.hotkey for neuron in neurons if neuron.validator_permit)

    def admits(self, hotkey: str) -> bool:
        """Whether this hotkey may call."""
        return hotkey in self._validators or hotkey in self._listed

    @property
    def number_of_validators(self) -> int:
        """Hotkeys with a permit on the last metagraph that was read."""
        return len(self._validators)
