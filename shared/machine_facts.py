"""What a doctor reads off the machine. Nothing here judges; nothing is sent anywhere but to this machine."""

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shared.diagnosis_machine import EVERYWHERE, Gpu, existing

CGROUP = Path("/sys/fs/cgroup")
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;]+)")


def available_memory_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = CGROUP) -> int | None:
    """Memory that new processes can use without swapping, within a container's limit; None if unknown."""
    of_machine = _meminfo_bytes(meminfo, "MemAvailable")
    of_group = _cgroup_bytes(cgroup)
    known = [one for one in (of_machine, of_group) if one is not None]
    return min(known) if known else None


def _meminfo_bytes(meminfo: Path, name: str) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:")), None)


def _cgroup_bytes(cgroup: Path) -> int | None:
    """What is left of a cgroup v2's limit, counting the file cache that would be given up."""
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        current = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    return max(0, int(limit) - current + int(stat.get("inactive_file", 0)))


def free_disk_bytes(folder: Path) -> int:
    """What this user can still write where `folder` is or will be."""
    return shutil.disk_usage(existing(folder)).free


def is_writable(folder: Path) -> bool:
    """Whether this user may write there, or make the folder."""
    return os.access(existing(folder), os.W_OK | os.X_OK)


def port_taken_by(host: str, port: int) -> str | None:
    """None when this host and port can be listened on; otherwise why not, in words."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError:
            return "the system (ports below 1024 are for root)"
        except OSError as error:
            return f"another program ({error.strerror or error})"
    return None


def callable_host(host: str) -> str:
    """Where a server that listens on `host` is called from this machine."""
    if host in EVERYWHERE:
        return "::1" if host == "::" else "127.0.0.1"
    return host


def visible_gpus() -> Sequence[Gpu]:
    """The CUDA devices that torch sees; importing it takes seconds."""
    import torch

    if not torch.cuda.is_available():
        return []
    return [_gpu(number) for number in range(torch.cuda.device_count())]


def _gpu(number: int) -> Gpu:
    import torch

    free, total = torch.cuda.mem_get_info(number)
    return Gpu(torch.cuda.get_device_name(number), int(free), int(total))


def installed_version(package: str) -> str | None:
    """The version of an installed package, None without."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def pinned_versions(requirements: Path) -> Mapping[str, str]:
    """`name==version` lines of a requirements file."""
    lines = requirements.read_text(encoding="utf-8").splitlines()
    return {pin[1]: pin[2] for line in lines if (pin := _PIN.match(line.strip()))}


def clock_is_synchronised() -> bool | None:
    """What systemd says of the clock's synchronisation; None where it can't be asked."""
    try:
        done = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())
