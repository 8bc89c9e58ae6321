"""Extrinsics of one hotkey, one after the other: this process has one owner of its nonce."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakValueDictionary

from shared.chain_head import BLOCK_S
from shared.chain_link import ChainLink
from shared.chain_refusals import Refusal, code_of, refusal_of
from shared.errors import ChainError, ChainUnavailable, OutcomeUnknown

log = logging.getLogger(__name__)

ERA_BLOCKS = 16
"""How long an extrinsic may wait for its block. Once the era is over it can't be included any more, so that
another may be sent without the first ever following it."""

ATTEMPTS = 4
"""Times that one extrinsic is built and sent where the chain refuses it for something that passes."""

_AT_ONCE = frozenset({Refusal.BAD_NONCE, Refusal.REBUILD})

Submit = Callable[[Any], Awaitable[Any]]
"""Builds, signs and sends with the SDK's client; gives its `ExtrinsicResult`."""

Arrived = Callable[[], Awaitable[bool]]
"""Asks the chain whether what was sent is there."""

_owners: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()
"""By event loop and hotkey: what is sent over another connection of this process waits as well."""


def nonce_owner(hotkey: str) -> asyncio.Lock:
    """The lock of whoever sends for a hotkey in this event loop."""
    key = (id(asyncio.get_running_loop()), hotkey)
    lock = _owners.get(key)
    if lock is None:
        lock = _owners[key] = asyncio.Lock()
    return lock


async def _newest(client: Any) -> int:
    return int(await client.block())


class Submissions:
    """Sends for one hotkey."""

    def __init__(self, link: ChainLink, hotkey: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._link, self._hotkey, self._sleep = link, hotkey, sleep

    async def send(self, what: str, submit: Submit, arrived: Arrived | None = None) -> None:
        """Send until the chain has it or refuses it for good.

        A nonce that somebody else used is read again at once, a full pool is waited for. When the answer is
        lost, `arrived` looks at the chain before anything is sent again.

        Raises:
            OutcomeUnknown: the answer was lost, and there is no way to look, or none was left.
            ChainUnavailable: it was not sent.
            ChainError: the chain refuses it.
        """
        async with nonce_owner(self._hotkey):
            for attempt in range(1, ATTEMPTS + 1):
                # A connection that has died since it was last used is noticed here, and not in mid-submit.
                await self._link.read(f"{what}: reaching the chain", _newest)
                try:
                    await self._link.write(what, lambda client: self._once(client, what, submit))
                    return
                except ChainError as error:
                    if attempt == ATTEMPTS or not await self._again(error, arrived):
                        raise
                    log.info("%s; sending it again", error)
                if arrived is not None and await arrived():
                    return

    async def _once(self, client: Any, what: str, submit: Submit) -> None:
        # What the SDK remembers of the nonce is wrong once another process has used the hotkey.
        client._substrate.raw.clear_nonce_cache_for_account(self._hotkey)
        result = await submit(client)
        if not result.success:
            code = "" if result.error is None else code_of(result.error)
            raise ChainError(f"{what} failed on chain: {result.error or result.message}", code)

    async def _again(self, error: ChainError, arrived: Arrived | None) -> bool:
        """Whether it may be sent again, once that makes sense."""
        if isinstance(error, OutcomeUnknown):
            if arrived is None:
                return False
            await self._sleep(BLOCK_S)
            return True
        if isinstance(error, ChainUnavailable):
            return False
        refusal = refusal_of(error.code)
        if refusal is Refusal.NEXT_BLOCK:
            await self._sleep(BLOCK_S)
        return refusal in _AT_ONCE or refusal is Refusal.NEXT_BLOCK
