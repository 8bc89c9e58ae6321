"""The machine under a process: disk, memory, GPU, ports. What is measured is passed in, judged here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.diagnosis import Finding, bad, note, ok, warn

GIB = 1 << 30

LEAST_DISK_BYTES = 1 * GIB
"""Below it a process is about to stop: a record log's segment alone grows to 64 MiB."""

ROOM_BYTES = 10 * GIB
"""Days of records, epochs and logs at some requests a second."""

LOOPBACKS = ("127.0.0.1", "::1", "localhost")
EVERYWHERE = ("0.0.0.0", "::", "")


@dataclass(frozen=True)
class Gpu:
    """One visible CUDA device, in bytes."""

    name: str
    free_bytes: int
    total_bytes: int


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that is there."""
    folder = folder.expanduser().absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def judge_disk(folder: Path, free_bytes: int, writable: bool, needed_bytes: int = ROOM_BYTES) -> Finding:
    """Room and rights in a state folder."""
    free = f"{free_bytes / GIB:.1f} GiB free for {folder}"
    cure = "make room there, or name a folder on a larger disk with --state-dir"
    if not writable:
        return bad(
            "disk",
            f"{folder} can't be written by this user",
            f"chown it to the user of the process, or pass another --state-dir: ls -ld {folder}",
        )
    if free_bytes < LEAST_DISK_BYTES:
        return bad("disk", f"the disk is nearly full: {free}", cure)
    if free_bytes < needed_bytes:
        return warn("disk", f"little room: {free}, {needed_bytes / GIB:.1f} GiB are advised", cure)
    return ok("disk", free)


def judge_memory(available_bytes: int, needed_bytes: int, what: str) -> Finding:
    """Whether `what` fits into the memory that is available."""
    words = f"{what} takes {needed_bytes / GIB:.1f} GiB, {available_bytes / GIB:.1f} GiB are available"
    if available_bytes < needed_bytes:
        return bad("memory", words, "stop other programs here, or move to a machine with more memory")
    return ok("memory", words)


def judge_gpu(gpus: Sequence[Gpu], number: int, needed_bytes: int, what: str, free: bool = True) -> Finding:
    """Whether a GPU is visible and has room.

    Args:
        number: which CUDA device.
        free: measure by what is free now; otherwise by what it has in all, since its user already runs.
    """
    if number >= len(gpus):
        seen = f"{len(gpus)} GPUs are visible to torch" if gpus else "torch sees no GPU"
        return bad(
            "gpu",
            f"{seen}, device {number} is asked for",
            "see that `nvidia-smi` lists it and that torch is a CUDA build: "
            "python -c 'import torch; print(torch.version.cuda, torch.cuda.is_available())'",
        )
    gpu = gpus[number]
    has = gpu.free_bytes if free else gpu.total_bytes
    words = f"{what} takes {needed_bytes / GIB:.1f} GiB, {gpu.name} has {has / GIB:.1f} GiB{' free' * free}"
    if has < needed_bytes:
        return bad("gpu", words, "end what else uses the GPU (nvidia-smi), or choose a larger one")
    return ok("gpu", words)


def judge_port(host: str, port: int, taken_by: str | None, ours: bool) -> Finding:
    """Whether the port is free, or held by the process that is examined."""
    place = f"port {port} of {host}"
    if ours:
        return ok("port", f"{place} is held by the running process")
    if taken_by is not None:
        return bad(
            "port",
            f"{place} is taken by {taken_by}; it is not this process, or it hangs",
            f"ss -ltnp 'sport = :{port}' shows what listens there: stop it, or choose another --port",
        )
    return ok("port", f"{place} is free")


def judge_reach(host: str, who_calls: str) -> Sequence[Finding]:
    """A warning where a process that others call listens on loopback only."""
    if host in LOOPBACKS:
        return [
            warn(
                "port",
                f"it listens on {host} only, where {who_calls} can't reach it",
                "pass --host 0.0.0.0, unless a proxy on this machine passes requests on",
            )
        ]
    return []


def judge_exposure(host: str, what: str) -> Sequence[Finding]:
    """A note where something meant for the operator listens on every address."""
    if host in EVERYWHERE:
        return [note("port", f"{what} is open on every address of this machine", "pass --host 127.0.0.1")]
    return []
