from pathlib import Path
from typing import Any

import bittensor as bt
import pytest

from shared import wallets
from shared.errors import ConfigError
from shared.wallets import load_hotkey


@pytest.fixture
def hotkey_file(tmp_path: Path) -> Path:
    wallet = bt.Wallet("validator", "hot", path=str(tmp_path))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(use_password=False, suppress=True)
    return tmp_path / "validator" / "hotkeys" / "hot"


def test_a_hotkey_signs_where_its_file_lies_alone(hotkey_file: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone" / "validator" / "hotkeys" / "hot"
    alone.parent.mkdir(parents=True)
    alone.write_bytes(hotkey_file.read_bytes())
    signer = load_hotkey("validator", "hot", tmp_path / "alone")
    assert signer.ss58_address == load_hotkey("validator", "hot", tmp_path).ss58_address
    assert len(signer.sign(b"x")) == 64


def test_a_missing_hotkey_is_named_with_its_cure(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="btcli wallet new-hotkey --wallet validator --wallet-hotkey hot"):
        load_hotkey("validator", "hot", tmp_path)


def test_a_hotkey_of_another_user_says_whose_process_this_is(
    hotkey_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Forbidden(bt.Wallet):
        @property
        def hotkey(self) -> Any:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(wallets, "Wallet", Forbidden)
    with pytest.raises(ConfigError, match=r"whose uid is \d+: run it as the file's owner"):
        load_hotkey("validator", "hot", tmp_path)


def test_a_damaged_hotkey_is_told(hotkey_file: Path, tmp_path: Path) -> None:
    hotkey_file.chmod(0o600)
    hotkey_file.write_text("{")
    with pytest.raises(ConfigError, match="can't be read"):
        load_hotkey("validator", "hot", tmp_path)
