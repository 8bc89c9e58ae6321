"""Looks before it starts: ports, memory, disk, compiler. Each complaint is one sentence with its cure."""

import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

from localnet.errors import LocalnetError
from shared.machine_facts import available_memory_bytes

MEMORY_PER_MINER_GIB = 3.3
"""Resident memory of one engine with the demo model and 1 GiB of KV cache, measured with
three at once (9.3 GB in all), rounded up."""

MEMORY_OF_THE_REST_GIB = 3.5
"""Audit validator with its float32 reference model, gateway, chain node, watchtower, supervisor."""

MEMORY_PER_FURTHER_AUDITOR_GIB = 1.5
"""Of each audit validator but the first: torch, and the demo model in float32."""

DISK_GIB = 4.0
"""The demo model, a changed copy of 0.27 GB for each of ten cheats, logs and compiler caches."""


def check_ports(ports: Mapping[int, str]) -> None:
    """Check that every port is free on 127.0.0.1.

    Raises:
        LocalnetError: one is taken.
    """
    for port, owner in ports.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise LocalnetError(
                    f"port {port}, which {owner} needs, is taken; stop what listens there "
                    f"(ss -ltnp 'sport = :{port}' shows it) or choose other ports (--help lists the flags)"
                ) from None


def available_memory_gib(meminfo: Path = Path("/proc/meminfo")) -> float:
    """Memory that new processes can use without swapping."""
    available = available_memory_bytes(meminfo)
    return float("inf") if available is None else available / (1 << 30)


def check_memory(miners: int, available_gib: float, auditors: int = 1) -> None:
    """Check that `miners` engines and the other processes fit.

    Raises:
        LocalnetError: they don't.
    """
    further = (auditors - 1) * MEMORY_PER_FURTHER_AUDITOR_GIB
    needed = miners * MEMORY_PER_MINER_GIB + MEMORY_OF_THE_REST_GIB + further
    if available_gib < needed:
        raise LocalnetError(
            f"{miners} miners need about {needed:.0f} GiB of memory and {available_gib:.1f} GiB are free; "
            "close something or start fewer miners (--miners honest,int4)"
        )


def check_disk(folder: Path, free_gib: float | None = None) -> None:
    """Check that models, logs and caches fit where `folder` is or will be.

    Raises:
        LocalnetError: they don't.
    """
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / (1 << 30) if free_gib is None else free_gib
    if free < DISK_GIB:
        raise LocalnetError(
            f"{existing} has {free:.1f} GiB of disk free and {DISK_GIB:g} GiB are needed; "
            "free some or put the files elsewhere with --folder"
        )


def check_compiler() -> None:
    """Check that there is a C++ compiler, which vLLM calls on a CPU.

    Raises:
        LocalnetError: there is none.
    """
    if not any(shutil.which(name) for name in ("g++", "c++", "clang++")):
        raise LocalnetError("there is no C++ compiler, which vLLM needs on a CPU; install g++")
