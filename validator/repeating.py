"""Steps that a process repeats for as long as it runs, whatever chain, disk, database and gateways do."""

import asyncio
from collections.abc import Awaitable, Callable

from sqlalchemy.exc import DBAPIError

from shared.database import is_away
from shared.errors import ChainError, ChainUnavailable, DownloadFailed, StoreError
from validator.troubles import Troubles


async def repeat(
    pause_s: float,
    subject: str,
    step: Callable[[], Awaitable[None]],
    troubles: Troubles,
    chain_failed: Callable[[], None] = lambda: None,
) -> None:
    """Repeat `step`; while something outside of this process fails, say so and go on trying.

    Args:
        chain_failed: is told when the chain can't be reached.
    """
    while True:
        try:
            await step()
        except (ChainError, StoreError, DownloadFailed, DBAPIError) as error:
            if isinstance(error, DBAPIError) and not is_away(error):
                raise
            troubles.report(subject, f"{error}; trying again")
            if isinstance(error, ChainUnavailable):
                chain_failed()
        else:
            troubles.clear(subject)
        await asyncio.sleep(pause_s)
