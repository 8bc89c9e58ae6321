"""The chain as the processes of this project need it: a small interface, for one netuid."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Neuron:
    """One uid of the metagraph. `axon` is "ip:port", hostile until parsed, or None."""

    uid: int
    hotkey: str
    axon: str | None
    validator_permit: bool
    stake_rao: int
    last_update: int


@dataclass(frozen=True)
class Block:
    """One block: `hash` is 0x-hex, `timestamp_ms` is the block's own Unix time."""

    number: int
    hash: str
    timestamp_ms: int


class Chain(Protocol):
    """What the processes ask of the chain, for one netuid.

    Every method raises ChainUnavailable when the chain can't be reached or does not answer in
    time, and ChainError when it refuses.
    """

    async def neurons(self) -> list[Neuron]:
        """All neurons of the subnet, by uid."""
        ...

    async def head(self) -> Block:
        """The newest block."""
        ...

    async def block(self, number: int) -> Block:
        """An older block."""
        ...

    async def blocks(self, numbers: Iterable[int]) -> dict[int, Block]:
        """Older blocks by number, read side by side. One that can't be had fails all."""
        ...

    async def serve_axon(self, ip: str, port: int) -> None:
        """Publish the address at which this hotkey serves."""
        ...

    async def set_weights(self, weights: Mapping[int, int]) -> None:
        """Set this hotkey's weights: u16 by uid."""
        ...

    async def weights(self) -> dict[int, dict[int, int]]:
        """The weights on chain: validator uid → {miner uid: u16}; zeros are absent."""
        ...

    async def set_commitment(self, data: bytes) -> None:
        """Replace this hotkey's commitment: 0 to 128 bytes that everybody can read.

        Raises:
            ValueError: it is longer.
        """
        ...

    async def commitments(self) -> dict[str, bytes]:
        """The newest commitment of each hotkey that made one for this subnet.

        Hotkeys that have left the subnet may be among them; commitments in another form than one run
        of raw bytes are left out.
        """
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...
