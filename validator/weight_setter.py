"""Brings waiting weights onto the chain, however often that takes, and sees that they are there.

Before anything is sent, it is noted with the newest block. After an outcome that is not known, the chain
tells: a hotkey's `last_update` moves when its weights, or its commitment to them, are accepted, and then
there is a row or a commitment. Until the era of what was sent is over, nothing is sent again.
"""

import asyncio
import logging
from collections.abc import Sequence

from shared.chain import Block, Neuron
from shared.chain_refusals import Refusal, refusal_of
from shared.chain_submission import ERA_BLOCKS
from shared.errors import ChainError, ChainUnavailable, OutcomeUnknown
from validator.weight_readback import Commit, Different, Row, Seen, look
from validator.weight_readback import WeightChain as WeightChain
from validator.weight_state import EpochWeights, WeightQueue, WeightState

log = logging.getLogger(__name__)

RETRY_BLOCKS = 25
"""Blocks between attempts when only the operator can help (5 minutes)."""

SETTLE_BLOCKS = ERA_BLOCKS + 8
"""Blocks after which an extrinsic of unknown outcome can't be included any more: its era, and eight blocks in
which it was built after the newest block was read."""

REVEAL_LOOK_BLOCKS = 25
"""Blocks between two looks whether the chain has revealed committed weights."""

_PASSING = frozenset({Refusal.BAD_NONCE, Refusal.NEXT_BLOCK, Refusal.REBUILD})


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
        newest = await asyncio.to_thread(self._queue.newest)
        if newest is None or newest.state not in ("pending", "sending", "committed"):
            return
        head = await self._chain.head()
        if newest.epoch == self._attempted_epoch and head.number < self._resume_at_block:
            return
        self._attempted_epoch = newest.epoch
        try:
            await self._advance(newest, head)
        except ChainUnavailable:
            raise
        except ChainError as error:
            await self._explain(newest, head, error)

    async def _advance(self, waiting: EpochWeights, head: Block) -> None:
        neurons = await self._chain.neurons()
        own = self._own(neurons)
        if waiting.sent_at_block is not None and own.last_update > waiting.sent_at_block:
            seen = await self._look(waiting, own.uid)
            if not isinstance(seen, Different):
                await self._confirm(waiting, seen, head)
                return
            await self._tell_lost(waiting, seen)
        elif waiting.state == "sending" and head.number < (waiting.sent_at_block or 0) + SETTLE_BLOCKS:
            self._resume_at_block = head.number + 1
            return
        weights = _still_held(waiting, neurons)
        if not weights:
            gone = "every miner that earned has left the subnet"
            await self._mark(waiting, "skipped", gone)
            log.warning("the weights of epoch %d are not set: %s", waiting.epoch, gone)
        elif not await self._must_wait(waiting, own, head):
            await self._send(waiting, weights, own.uid, head)

    def _own(self, neurons: Sequence[Neuron]) -> Neuron:
        own = next((neuron for neuron in neurons if neuron.hotkey == self._hotkey), None)
        if own is None:
            raise ChainError(f"{self._hotkey} is not registered", "not_registered")
        return own

    async def _look(self, waiting: EpochWeights, uid: int) -> Seen:
        """What is on chain of what was sent, also of miners that have left since."""
        sent = {entry.uid: entry.weight for entry in waiting.entries}
        seen = await look(self._chain, sent, uid, self._hotkey, waiting.sent_at_block or 0)
        if isinstance(seen, Different):
            held = _still_held(waiting, await self._chain.neurons())
            if held and held != sent:
                return await look(self._chain, held, uid, self._hotkey, waiting.sent_at_block or 0)
        return seen

    async def _tell_lost(self, waiting: EpochWeights, seen: Different) -> None:
        """What was sent did not take effect, although this hotkey's weights have changed."""
        if waiting.state == "pending":
            return
        if waiting.state == "committed":
            reason = f"the chain dropped the commitment to them without revealing it, {seen.words}"
        else:
            reason = f"{seen.words}: another process sets weights with this hotkey"
        await self._mark(waiting, "pending", f"{reason}; sent again")
        log.error("the weights of epoch %d are not set: %s; they are sent again", waiting.epoch, reason)

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
        try:
            await self._chain.set_weights(weights)
        except OutcomeUnknown:
            raise
        except ChainUnavailable as error:
            await self._mark(waiting, "pending", str(error))
            raise
        seen = await look(self._chain, weights, uid, self._hotkey, head.number)
        await self._confirm(waiting, seen, head)

    async def _confirm(self, waiting: EpochWeights, seen: Seen, head: Block) -> None:
        """Note that the chain accepted the weights, and how they are to be seen there."""
        match seen:
            case Row():
                await self._mark(
                    waiting, "set", f"accepted after block {waiting.sent_at_block or head.number}"
                )
                log.info("the weights of epoch %d are set", waiting.epoch)
            case Commit(block):
                self._resume_at_block = head.number + REVEAL_LOOK_BLOCKS
                detail = f"committed to in block {block}; the chain reveals them later"
                if (waiting.state, waiting.detail) != ("committed", detail):
                    await self._mark(waiting, "committed", detail)
                    log.info("the weights of epoch %d are %s", waiting.epoch, detail)
            case Different(words):
                await self._mark(waiting, "set", f"accepted, but {words}")
                log.error(
                    "the chain accepted the weights of epoch %d, but %s: another process may set weights "
                    "with this hotkey",
                    waiting.epoch,
                    words,
                )

    async def _explain(self, waiting: EpochWeights, head: Block, error: ChainError) -> None:
        """A refusal: note it, tell the operator what to do, and try again later."""
        refusal = refusal_of(error.code)
        patient = refusal is Refusal.RATE_LIMIT or refusal in _PASSING
        self._resume_at_block = head.number + (1 if patient else RETRY_BLOCKS)
        detail = "the chain asks to wait" if patient else f"{error}; {self._cure(refusal)}"
        await self._mark(waiting, "pending", detail)
        log.log(
            logging.INFO if patient else logging.ERROR,
            "the weights of epoch %d are not set yet: %s",
            waiting.epoch,
            f"{detail} ({error})" if patient else detail,
        )
        if refusal is Refusal.RATE_LIMIT:
            own = self._own(await self._chain.neurons())
            await self._must_wait(waiting, own, head)

    def _cure(self, refusal: Refusal) -> str:
        again = f"tried again in {RETRY_BLOCKS} blocks"
        if refusal is Refusal.NOT_REGISTERED:
            return f"register it with: btcli subnets register --netuid {self._netuid}; {again}"
        if refusal is Refusal.TOO_LITTLE_STAKE:
            return f"add stake to the hotkey with: btcli stake add; {again}"
        return again if refusal is Refusal.OTHER else f"{refusal.value}; {again}"

    async def _mark(
        self, waiting: EpochWeights, state: WeightState, detail: str, sent_at_block: int | None = None
    ) -> None:
        await asyncio.to_thread(self._queue.mark, waiting.epoch, state, detail, sent_at_block)


def _still_held(waiting: EpochWeights, neurons: Sequence[Neuron]) -> dict[int, int]:
    """Weights for uids that their miners still hold: a newcomer doesn't inherit a weight."""
    holders = {neuron.uid: neuron.hotkey for neuron in neurons}
    return {entry.uid: entry.weight for entry in waiting.entries if holders.get(entry.uid) == entry.hotkey}
