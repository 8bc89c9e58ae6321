"""Waiting with an end: a deadline that holds whatever the awaited code does with its cancellation.

`asyncio.wait_for` cancels what it waits for and then waits until that has ended. Code that swallows the
cancellation, or waits for the network while it cleans up, keeps it waiting without end.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")

_left_behind: set[asyncio.Task[Any]] = set()
"""Tasks whose end nobody waits for: a task that nothing refers to may vanish while it runs."""


async def within(deadline_s: float, call: Coroutine[Any, Any, T]) -> T:
    """What `call` returns. After `deadline_s` seconds, or when the caller is cancelled, it is cancelled and
    left to end by itself.

    Raises:
        TimeoutError: the deadline passed.
    """
    task = asyncio.create_task(call)
    try:
        await asyncio.wait({task}, timeout=deadline_s)
        if not task.done():
            raise TimeoutError(f"no answer in {deadline_s:g} s")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            leave_behind(task)


def leave_behind(task: asyncio.Task[Any]) -> None:
    """Let a task run to its end unwatched."""
    _left_behind.add(task)
    task.add_done_callback(_forget)


def _forget(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled() and task.exception() is not None:
        log.debug("what was left behind ended with %r", task.exception())
