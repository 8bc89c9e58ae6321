"""Recent blocks without a gap, in which challenge blocks are found."""

import asyncio

from shared.chain import Block, Chain
from validator.challenge_selection import challenge_block

KEPT_BLOCKS = 900
"""Three hours of 12-second blocks."""

MAX_LOOKBACK_BLOCKS = 250
"""How far before the newest block a challenge block is looked for: ordinary nodes keep the state of the
last 256 blocks only (50 minutes)."""


class TooOld(Exception):
    """The challenge block of a record is older than the chain's nodes can tell."""


class BlockWindow:
    """The newest blocks of the chain, as far back as anybody asked."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._blocks: list[Block] = []
        self._refreshing = asyncio.Lock()

    @property
    def newest(self) -> Block | None:
        """The newest block that was seen."""
        return self._blocks[-1] if self._blocks else None

    async def refresh(self) -> Block:
        """Fetch what is new; returns the newest block.

        Raises:
            ChainError: the chain can't be read.
        """
        async with self._refreshing:
            return await self._refresh()

    async def _refresh(self) -> Block:
        head = await self._chain.head()
        if self._blocks and head.number - self._blocks[-1].number > MAX_LOOKBACK_BLOCKS:
            self._blocks = []
        first = self._blocks[-1].number + 1 if self._blocks else head.number
        for number in range(first, head.number):
            self._blocks.append(await self._chain.block(number))
        if head.number >= first:
            self._blocks.append(head)
        del self._blocks[:-KEPT_BLOCKS]
        return self._blocks[-1]

    async def challenge_block(self, finished_at_ms: int) -> Block | None:
        """The first block after `finished_at_ms`; None when it does not exist yet.

        Raises:
            TooOld: it is so far back that it can't be read any more.
            ChainError: the chain can't be read.
        """
        if not self._blocks or self._blocks[-1].timestamp_ms <= finished_at_ms:
            return None
        while self._blocks[0].timestamp_ms > finished_at_ms and self._blocks[0].number > 0:
            number = self._blocks[0].number - 1
            if number < self._blocks[-1].number - MAX_LOOKBACK_BLOCKS:
                raise TooOld
            self._blocks.insert(0, await self._chain.block(number))
        return challenge_block(finished_at_ms, self._blocks)
