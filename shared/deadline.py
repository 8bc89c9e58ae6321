"""Waiting with an end: a deadline that holds whatever the awaited code does with its cancellation.

`asyncio.wait_for` cancels what it waits for and then waits until that has ended. Code that swallows the
cancellation, or waits for the network while it cleans up, keeps it waiting without end.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_running: set[asyncio.Task[Any]] = set()
"""Tasks whose end nobody may be waiting for: a task that nothing refers to may vanish while it runs."""


async def within(deadline_s: float, call: Coroutine[Any, Any, T]) -> T:
    """What `call` returns. After `deadline_s` seconds, or when the caller is cancelled, it is cancelled and
    left to end by itself.

    Raises:
        TimeoutError: the deadline passed.
    """
    task = asyncio.create_task(call)
    leave_behind(task)
    try:
        await asyncio.wait({task}, timeout=deadline_s)
        if not task.done():
            raise TimeoutError(f"no answer in {deadline_s:g} s")
        return task.result()
    finally:
        task.cancel()


def leave_behind(task: asyncio.Task[Any]) -> None:
    """Let a task run to its end, whether somebody waits for it or not."""
    _running.add(task)
    task.add_done_callback(_ended)


def _ended(task: asyncio.Task[Any]) -> None:
    _running.discard(task)
    if not task.cancelled():
        # Looked at, so that asyncio does not complain of what nobody is left to hear.
        task.exception()
