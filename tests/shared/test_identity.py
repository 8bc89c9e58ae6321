import math
from pathlib import Path

import bittensor as bt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import canonical_json, token_ids_digest
from shared.errors import ConfigError, ModelError
from shared.model_identity import model_digest, public_model_name
from shared.wallets import load_hotkey

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_key_order_does_not_change_canonical_json(value: dict[str, object]) -> None:
    assert canonical_json(value) == canonical_json(dict(reversed(list(value.items()))))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_canonical_json_refuses_what_json_has_no_number_for(bad: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": bad})


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1), st.data())
def test_changed_token_ids_have_another_digest(ids: list[int], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(ids) - 1))
    changed = [*ids[:index], ids[index] ^ 1, *ids[index + 1 :]]
    assert token_ids_digest(ids) != token_ids_digest(changed)
    assert token_ids_digest(ids) != token_ids_digest([*ids, 0])


def test_a_negative_token_id_is_refused() -> None:
    with pytest.raises(ValueError, match="whole numbers"):
        token_ids_digest([-1])


def test_a_folder_is_called_by_its_last_part_and_a_hub_id_by_itself(tmp_path: Path) -> None:
    folder = tmp_path / "Some-Model"
    folder.mkdir()
    assert public_model_name(f"{folder}/") == "Some-Model"
    assert public_model_name("Qwen/Qwen2.5-7B-Instruct") == "Qwen/Qwen2.5-7B-Instruct"


def test_a_changed_weight_or_configuration_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    before = model_digest(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"Weights")
    changed_weights = model_digest(tmp_path)
    (tmp_path / "config.json").write_text("{ }")
    assert len({before, changed_weights, model_digest(tmp_path)}) == 3


def test_a_folder_without_weights_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="safetensors"):
        model_digest(tmp_path)


def test_a_hotkey_is_loaded_from_its_wallet(tmp_path: Path) -> None:
    wallet = bt.Wallet("miner", "default", path=str(tmp_path))
    wallet.create_new_coldkey(use_password=False, suppress=True)
    wallet.create_new_hotkey(use_password=False, suppress=True)
    assert load_hotkey("miner", "default", tmp_path).ss58_address == wallet.hotkey.ss58_address


def test_a_missing_hotkey_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="btcli wallet"):
        load_hotkey("miner", "default", tmp_path)


def test_a_damaged_hotkey_file_is_refused_in_words(tmp_path: Path) -> None:
    file = tmp_path / "miner" / "hotkeys" / "default"
    file.parent.mkdir(parents=True)
    file.write_text("not a key")
    with pytest.raises(ConfigError, match="can't be read"):
        load_hotkey("miner", "default", tmp_path)
