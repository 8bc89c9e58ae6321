"""Brings waiting weights onto the chain, however often that takes.

Before anything is sent, it is noted with the newest block. After an outcome that is not known, the
chain tells: a hotkey's `last_update` moves when its weights, or its commitment to them, are accepted. On
a subnet with commit-reveal the weights themselves appear only later, when the chain reveals them.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from shared.chain import Block, Chain, Neuron
from shared.errors import ChainError, ChainUnavailable
from validator.weight_state import EpochWeights, WeightQueue, WeightState

log = logging.getLogger(__name__)

RETRY_BLOCKS = 25
"""Blocks between attempts when only the operator can help (5 minutes)."""

SETTLE_BLOCKS = 3
"""Blocks that an extrinsic of unknown outcome gets to be included before it is sent again."""

RATE_CODES = frozenset(
    {"rate_limited", "SettingWeightsTooFast", "CommittingWeightsTooFast", "RateLimitExceeded"}
)
UNREGISTERED_CODES = frozenset(
    {"not_registered", "HotKeyNotRegisteredInSubNet", "HotKeyNotRegisteredInNetwork", "UidNotFound"}
)
PERMIT_CODES = frozenset({"not_authorized", "NeuronNoValidatorPermit"})
STAKE_CODES = frozenset({"insufficient_balance", "NotEnoughStakeToSetWeights", "StakeAmountTooLow"})


class WeightChain(Chain, Protocol):
    """The chain, and how often it takes weights."""

    async def weights_rate_limit(self) -> int:
        """Blocks that must lie between two settings of weights by one hotkey."""
        ...


class WeightSetter:
    """Call `step` again and again; newer weights replace older ones that still wait."""

    def __init__(self, chain: WeightChain, queue: WeightQueue, hotkey: str, netuid: int) -> None:
        self._chain, self._queue = chain, queue
        self._hotkey, self._netuid = hotkey, netuid
        self._resume_at_block = 0
        self._attempted_epoch = 0

    async def step(self) -> None:
        """One attempt, if weights wait and it is time for one.

        Raises:
            ChainUnavailable: the chain can't be reached; call again later.
        """
        waiting = await asyncio.to_thread(self._queue.waiting)
        if waiting is None:
            return
        head = await self._chain.head()
        if waiting.epoch == self._attempted_epoch and head.number < self._resume_at_block:
            return
        self._attempted_epoch = waiting.epoch
        try:
            await self._advance(waiting, head)
        except ChainUnavailable:
            raise
        except ChainError as error:
            await self._explain(waiting, head, error)

    async def _advance(self, waiting: EpochWeights, head: Block) -> None:
        neurons = await self._chain.neurons()
        own = next((neuron for neuron in neurons if neuron.hotkey == self._hotkey), None)
        if own is None:
            raise ChainError(f"{self._hotkey} is not registered", "not_registered")
        if waiting.sent_at_block is not None:
            if own.last_update > waiting.sent_at_block:
                await self._confirm(waiting, own.uid, own.last_update)
                return
            if head.number < waiting.sent_at_block + SETTLE_BLOCKS:
                self._resume_at_block = waiting.sent_at_block + SETTLE_BLOCKS
                return
        weights = _still_held(waiting, neurons)
        if not weights:
            gone = "every miner that earned has left the subnet"
            await self._mark(waiting, "skipped", gone)
            log.warning("the weights of epoch %d are not set: %s", waiting.epoch, gone)
        elif not await self._must_wait(waiting, own, head):
            await self._send(waiting, weights, own.uid, head)

    async def _must_wait(self, waiting: EpochWeights, own: Neuron, head: Block) -> bool:
        limit = await self._chain.weights_rate_limit()
        free_at = own.last_update + limit
        if own.last_update == 0 or head.number >= free_at:
            return False
        self._resume_at_block = free_at
        detail = f"the chain takes weights every {limit} blocks; they are sent at block {free_at}"
        await self._mark(waiting, "pending", detail)
        log.info("the weights of epoch %d wait: %s", waiting.epoch, detail)
        return True

    async def _send(self, waiting: EpochWeights, weights: dict[int, int], uid: int, head: Block) -> None:
        await self._mark(waiting, "sending", f"sent after block {head.number}", head.number)
        await self._chain.set_weights(weights)
        await self._confirm(waiting, uid, head.number)

    async def _confirm(self, waiting: EpochWeights, uid: int, block: int) -> None:
        """Note that the weights arrived, and whether they can be seen."""
        await self._mark(waiting, "set", f"accepted after block {block}")
        expected = {entry.uid: entry.weight for entry in waiting.entries}
        visible = (await self._chain.weights()).get(uid)
        log.info(
            "the weights of epoch %d are set%s",
            waiting.epoch,
            ""
            if visible == expected
            else "; the chain shows others: it reveals these later, or limits a share",
        )

    async def _explain(self, waiting: EpochWeights, head: Block, error: ChainError) -> None:
        """A refusal: note it, tell the operator what to do, and try again later."""
        limited = error.code in RATE_CODES
        self._resume_at_block = head.number + (1 if limited else RETRY_BLOCKS)
        detail = "the chain asks to wait" if limited else f"{error}; {self._cure(error.code)}"
        await self._mark(waiting, "pending", detail)
        log.log(
            logging.INFO if limited else logging.ERROR,
            "the weights of epoch %d are not set yet: %s",
            waiting.epoch,
            detail,
        )

    def _cure(self, code: str) -> str:
        again = f"tried again in {RETRY_BLOCKS} blocks"
        if code in UNREGISTERED_CODES:
            return f"register it with: btcli subnets register --netuid {self._netuid}; {again}"
        if code in PERMIT_CODES:
            return f"a validator permit goes to the hotkeys with the most stake: add stake; {again}"
        if code in STAKE_CODES:
            return f"add stake to the hotkey with: btcli stake add; {again}"
        return again

    async def _mark(
        self, waiting: EpochWeights, state: WeightState, detail: str, sent_at_block: int | None = None
    ) -> None:
        await asyncio.to_thread(self._queue.mark, waiting.epoch, state, detail, sent_at_block)


def _still_held(waiting: EpochWeights, neurons: Sequence[Neuron]) -> dict[int, int]:
    """Weights for uids that their miners still hold: a newcomer doesn't inherit a weight."""
    holders = {neuron.uid: neuron.hotkey for neuron in neurons}
    return {entry.uid: entry.weight for entry in waiting.entries if holders.get(entry.uid) == entry.hotkey}
