"""Wallets of the subnet's parties: unencrypted, for this machine's chain only."""

from dataclasses import dataclass
from pathlib import Path

HOTKEY_NAME = "default"
VALIDATOR = "validator"
WATCHTOWER = "watchtower"


@dataclass(frozen=True)
class Party:
    """A wallet by name, and its two addresses."""

    name: str
    hotkey: str
    coldkey: str


def miner_name(number: int) -> str:
    """Wallet name of a miner; numbers count from 1."""
    return f"miner-{number}"


def create_party(name: str, folder: Path) -> Party:
    """The party's wallet, created on first use."""
    import bittensor as bt

    wallet = bt.Wallet(name, HOTKEY_NAME, path=str(folder))
    if not (folder / name / "hotkeys" / HOTKEY_NAME).exists():
        wallet.create_new_coldkey(use_password=False, suppress=True)
        wallet.create_new_hotkey(use_password=False, suppress=True)
    return Party(name, wallet.hotkey.ss58_address, wallet.coldkeypub.ss58_address)
