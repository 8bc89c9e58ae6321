"""A folder as a store: what a file system can lack."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from shared.diagnosis import Finding, bad, ok
from shared.errors import StoreError
from shared.object_store import MAX_OBJECT_BYTES


def check_folder(folder: Path) -> Iterator[Finding]:
    """Whether objects can be kept in this folder; ends with the first problem that the others hang on."""
    if not folder.exists():
        yield bad("folder", f"there is no folder {folder}", f"mkdir -p {folder}, or correct --store")
        return
    if not folder.is_dir():
        yield bad("folder", f"{folder} is a file", "name a folder with --store")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        owner = f"uid {folder.stat().st_uid}"
        yield bad(
            "folder",
            f"{folder} belongs to {owner}, and this process, uid {os.getuid()}, may not write there",
            f"chown -R {os.getuid()} {folder}, or run as {owner}",
        )
        return
    yield ok("folder", f"{folder} is there and may be written")
    yield _room(folder)


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    if free < MAX_OBJECT_BYTES:
        return bad(
            "disk",
            f"{free / 2**20:.0f} MiB are free, less than one object may have (1 GiB)",
            "make room, or publish into a folder of another disk",
        )
    return ok("disk", f"{free / 2**30:.0f} GiB are free")


def explain_folder(error: StoreError) -> tuple[str, str]:
    """(what happened, what to do) for a failure of a folder."""
    if "Operation not permitted" in str(error) or "not supported" in str(error):
        return (
            f"{error}: the file system has no hard links (FAT, exFAT, some network and FUSE mounts)",
            "publish into a folder of a file system with hard links: ext4, xfs, btrfs, zfs, NFS",
        )
    return str(error), "look at the folder's owner, mode, quota and free space"
