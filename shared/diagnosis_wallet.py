"""Whether a process can sign, and nobody else can with its key."""

import stat
from collections.abc import Sequence
from pathlib import Path

from shared.diagnosis import Finding, bad, note, ok, warn
from shared.errors import ConfigError
from shared.wallets import load_hotkey

SUBJECT = "wallet"


def check_wallet(name: str, hotkey: str, folder: Path) -> tuple[str | None, Sequence[Finding]]:
    """The hotkey's address, None when it can't be read, and what is found of its files."""
    home = folder.expanduser() / name
    file = home / "hotkeys" / hotkey
    try:
        address = load_hotkey(name, hotkey, folder).ss58_address
    except ConfigError as error:
        return None, [bad(SUBJECT, str(error), f"see that {file} is the hotkey's file and readable here")]
    return address, [
        ok(SUBJECT, f"hotkey {address} at {file}"),
        *_permissions(file),
        *_coldkey(home / "coldkey"),
    ]


def _permissions(file: Path) -> Sequence[Finding]:
    mode = stat.S_IMODE(file.stat().st_mode)
    cure = f"chmod 600 {file}"
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        return [bad(SUBJECT, f"everybody on this machine can read the hotkey's file (mode {mode:o})", cure)]
    if mode & (stat.S_IRGRP | stat.S_IWGRP):
        return [warn(SUBJECT, f"the file's group can read the hotkey (mode {mode:o})", cure)]
    return []


def _coldkey(file: Path) -> Sequence[Finding]:
    if not file.exists():
        return []
    return [
        note(
            SUBJECT,
            f"the coldkey lies on this machine too, at {file}; no process here ever needs it",
            "keep it on a machine that serves nothing; coldkeypub.txt may stay",
        )
    ]
