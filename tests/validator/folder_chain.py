"""A chain in a folder, which several processes see alike: its height, and what weights were sent to it."""

import json
from collections.abc import Mapping
from pathlib import Path

from shared.chain import Block, Neuron
from tests.validator.audit_rig import subnet
from tests.validator.auditor_examples import ExampleChain


class FolderChain(ExampleChain):
    """The example chain, with the folder's height and settings of weights."""

    def __init__(self, folder: Path) -> None:
        super().__init__(subnet())
        self._height, self._sent = folder / "height", folder / "sent"

    def begin(self) -> None:
        """Make the folder of a chain with one block."""
        self._height.parent.mkdir(parents=True)
        self._sent.touch()
        self.grow(1)

    def grow(self, blocks: int) -> None:
        """Blocks appear."""
        height = self.height_now() if self._height.exists() else 0
        new = self._height.with_suffix(".new")
        new.write_text(str(height + blocks))
        new.replace(self._height)

    def height_now(self) -> int:
        """The newest block's number."""
        return int(self._height.read_text())

    def settings(self) -> list[tuple[int, dict[int, int]]]:
        """Every setting of weights, oldest first, each with the block after which it came."""
        rows = [json.loads(line) for line in self._sent.read_text().splitlines()]
        return [(row[0], {int(uid): weight for uid, weight in row[1].items()}) for row in rows]

    async def head(self) -> Block:
        self.height = self.height_now()
        return await super().head()

    async def neurons(self) -> list[Neuron]:
        settings = self.settings()
        own, *others = await super().neurons()
        last_update = settings[-1][0] + 1 if settings else 0
        return [
            Neuron(own.uid, own.hotkey, own.axon, own.validator_permit, own.stake_rao, last_update),
            *others,
        ]

    async def set_weights(self, weights: Mapping[int, int]) -> None:
        with self._sent.open("a") as sent:
            sent.write(json.dumps([self.height_now(), dict(weights)]) + "\n")

    async def weights(self) -> dict[int, dict[int, int]]:
        settings = self.settings()
        return {0: settings[-1][1]} if settings else {}

    async def set_commitment(self, data: bytes) -> None:
        self._height.with_name("anchor").write_bytes(data)

    async def commitments(self) -> dict[str, bytes]:
        anchor = self._height.with_name("anchor")
        return {self.own.ss58_address: anchor.read_bytes()} if anchor.exists() else {}
