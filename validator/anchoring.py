"""Brings the newest published epoch's anchor onto the chain, however often that takes."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from shared.anchors import Anchor
from shared.errors import ChainError, ChainUnavailable
from validator.clock import Clock
from validator.epoch_state import EpochState

log = logging.getLogger(__name__)

REFUSED_PAUSE_MS = 120_000
"""Ten blocks: the chain's limits of commitments are counted in tempos, and each attempt costs it work."""


class AnchorChain(Protocol):
    """What anchoring asks of the chain; every method raises ChainError when it fails."""

    async def commitments(self) -> dict[str, bytes]:
        """The newest commitment of each hotkey."""
        ...

    async def set_commitment(self, data: bytes) -> None:
        """Replace this hotkey's commitment."""
        ...


class AnchorSetter:
    """Call `step` again and again. What stands on chain is looked up before anything is sent, so nothing has
    to be remembered: a lost answer or a restart sends nothing twice.

    Args:
        confirm: raises LeaseLost when another auditor sends by now; asked right before anything is sent.
    """

    def __init__(
        self,
        chain: AnchorChain,
        epochs: EpochState,
        hotkey: str,
        clock: Clock,
        confirm: Callable[[], None] = lambda: None,
    ) -> None:
        self._chain, self._epochs, self._hotkey = chain, epochs, hotkey
        self._clock, self._confirm = clock, confirm
        self._standing: Anchor | None = None
        self._refused: tuple[int, ChainError] | None = None

    async def step(self) -> None:
        """Commit to the newest published epoch, unless the chain has it.

        Raises:
            ChainError: the chain can't be read, or refuses for now.
        """
        wanted = await asyncio.to_thread(self._wanted)
        if wanted is None or wanted == self._standing:
            return
        if self._refused is not None and self._clock() < self._refused[0]:
            raise self._refused[1]
        if (await self._chain.commitments()).get(self._hotkey) != wanted.encode():
            await self._commit(wanted)
        self._standing, self._refused = wanted, None

    async def _commit(self, wanted: Anchor) -> None:
        await asyncio.to_thread(self._confirm)
        try:
            await self._chain.set_commitment(wanted.encode())
        except ChainUnavailable:
            raise
        except ChainError as error:
            self._refused = self._clock() + REFUSED_PAUSE_MS, error
            raise
        log.info("epoch %d is anchored on chain", wanted.epoch)

    def _wanted(self) -> Anchor | None:
        newest = self._epochs.newest_published()
        if newest is None:
            return None
        return Anchor(newest.number, newest.summary().records_root, newest.digest)
