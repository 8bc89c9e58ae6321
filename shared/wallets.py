"""Loading the hotkey that a process signs with."""

import os
from pathlib import Path

from bittensor import Wallet
from bittensor.keyfiles import KeyfileError

from shared.errors import ConfigError
from shared.signing import Signer


def load_wallet(name: str, hotkey: str, path: Path) -> Wallet:
    """A wallet whose hotkey can be read; the coldkey is never needed and never opened.

    Raises:
        ConfigError: there is no such hotkey file, or it can't be read.
    """
    file = path.expanduser() / name / "hotkeys" / hotkey
    cure = f"create it with: btcli wallet new-hotkey --wallet {name} --wallet-hotkey {hotkey}"
    try:
        if not file.exists():
            raise ConfigError(
                f"there is no hotkey at {file}; {cure}, or name another with --wallet and --hotkey"
            )
        wallet = Wallet(name, hotkey, path=str(path.expanduser()))
        wallet.hotkey  # noqa: B018  reading it is what can fail
    except PermissionError:
        raise ConfigError(
            f"the hotkey at {file} may not be read by this process, whose uid is {os.getuid()}: run it as "
            "the file's owner (in Docker: CONSTANTINOPLE_USER), or give the file to that uid"
        ) from None
    except (KeyfileError, OSError, ValueError) as error:
        raise ConfigError(f"the hotkey at {file} can't be read: {error}") from None
    return wallet


def load_hotkey(name: str, hotkey: str, path: Path) -> Signer:
    """The signing half of `load_wallet`.

    Raises:
        ConfigError: as `load_wallet`.
    """
    signer: Signer = load_wallet(name, hotkey, path).hotkey
    return signer
