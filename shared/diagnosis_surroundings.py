"""The machine that a doctor looks at, passed in so that tests pass a broken one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shared.chain import Chain, SubtensorChain
from shared.diagnosis_http import HealthAnswer, ask_health, read_json
from shared.diagnosis_machine import Gpu
from shared.machine_facts import (
    available_memory_bytes,
    clock_is_synchronised,
    free_disk_bytes,
    installed_version,
    is_writable,
    port_taken_by,
    visible_gpus,
)


class ExaminedChain(Chain, Protocol):
    """The chain, and how often it takes weights."""

    async def weights_rate_limit(self) -> int:
        """Blocks that must lie between two settings of weights by one hotkey."""
        ...


ConnectChain = Callable[[str, int], ExaminedChain]
"""(network, netuid) → the chain."""


def unix_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Surroundings:
    """What a doctor asks of its surroundings; the defaults are this machine."""

    free_disk_bytes: Callable[[Path], int] = free_disk_bytes
    is_writable: Callable[[Path], bool] = is_writable
    available_memory_bytes: Callable[[], int | None] = available_memory_bytes
    visible_gpus: Callable[[], Sequence[Gpu]] = visible_gpus
    port_taken_by: Callable[[str, int], str | None] = port_taken_by
    installed_version: Callable[[str], str | None] = installed_version
    clock_is_synchronised: Callable[[], bool | None] = clock_is_synchronised
    ask_health: Callable[[str, int], Awaitable[HealthAnswer]] = ask_health
    read_json: Callable[[str], Awaitable[HealthAnswer]] = read_json
    connect_chain: ConnectChain = SubtensorChain
    now_ms: Callable[[], int] = unix_ms
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
