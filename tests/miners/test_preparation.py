import socket
from pathlib import Path

import pytest

from localnet.wallets import Party
from miners.config import MinerConfig
from miners.errors import NotRegistered
from miners.preparation import (
    admission_of,
    check_context,
    check_port_is_free,
    compare_weights,
    kept_commitments,
    prepare,
)
from shared.calibration import read_calibration
from shared.canonical import sha256_hex
from shared.errors import ConfigError, ModelError
from tests.miners.local_chain import LocalChain
from tests.miners.running_miner import NETUID, free_port
from tests.shared.keys import MINER, OTHER_MINER, VALIDATOR
from tests.shared.receipt_examples import example_commitment


def config(folder: Path, **changes: object) -> MinerConfig:
    settings: dict[str, object] = {
        "model": str(folder / "nothing"),
        "port": free_port(),
        "network": "ws://127.0.0.1:1",
        "netuid": NETUID,
        "wallet_path": folder,
        "state_dir": folder / "state",
        **changes,
    }
    return MinerConfig(**settings)  # type: ignore[arg-type]


def test_a_port_in_use_is_found_before_anything_is_loaded() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"port {port}.*--port"):
            check_port_is_free("127.0.0.1", port)
    check_port_is_free("127.0.0.1", port)


def test_a_missing_wallet_is_told_the_command(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="btcli wallet new-hotkey --wallet miner"):
        prepare(config(tmp_path))


def test_a_missing_calibration_is_told_where_to_get_one(miner: Party, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(ModelError, match="--calibration FILE"):
        prepare(config(tmp_path, model=str(folder)))


def test_a_model_that_is_not_on_this_machine_is_said_in_words(miner: Party, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither a local folder nor"):
        prepare(config(tmp_path, model="nobody/nothing"))


def test_a_damaged_calibration_is_refused(miner: Party, tmp_path: Path) -> None:
    file = tmp_path / "calibration"
    file.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not a calibration file"):
        prepare(config(tmp_path, calibration=str(file)))


def test_a_taken_port_is_refused_before_the_chain_is_asked(miner: Party, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(ConfigError, match="can't listen"):
            prepare(config(tmp_path, port=taken.getsockname()[1]))


async def test_an_unregistered_hotkey_ends_before_the_model_is_read(
    chain_node: LocalChain, miner: Party, tmp_path: Path, tiny_calibration_file: Path
) -> None:
    import asyncio

    unregistered = config(tmp_path, network=chain_node.url, calibration=str(tiny_calibration_file))
    with pytest.raises(NotRegistered, match="btcli subnets register"):
        await asyncio.to_thread(prepare, unregistered)


def test_a_context_that_audits_take_for_truncation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 32768}')
    for enough in (None, 2048, 32768):
        check_context(config(tmp_path, max_model_len=enough), tmp_path)
    with pytest.raises(ConfigError, match="--max-model-len 2047 is less than the 2048 tokens"):
        check_context(config(tmp_path, max_model_len=2047), tmp_path)
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 1024}')
    check_context(config(tmp_path, max_model_len=1024), tmp_path)
    with pytest.raises(ConfigError, match="1024 tokens"):
        check_context(config(tmp_path, max_model_len=512), tmp_path)


def test_a_fetched_calibration_of_another_model_is_refused_and_a_chosen_one_warned_of(
    tiny_calibration_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = read_calibration(tiny_calibration_file)
    own, other = calibration.header.model_digest, sha256_hex(b"another model")
    for named in (None, str(tiny_calibration_file), "http://gateway.example"):
        compare_weights(calibration, own, named)
    assert not caplog.messages
    for named in (None, str(tiny_calibration_file)):
        compare_weights(calibration, other, named)
    assert len(caplog.messages) == 2
    with pytest.raises(ModelError, match=r"http://gateway\.example is for"):
        compare_weights(calibration, other, "http://gateway.example")


def test_a_gateway_that_does_not_answer_is_said_with_a_cure(miner: Party, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="check the address, or pass a file with --calibration FILE"):
        prepare(config(tmp_path, calibration="http://127.0.0.1:1"))


def test_a_miner_has_the_commitments_of_its_hotkey_and_of_no_other(tmp_path: Path) -> None:
    kept_commitments(config(tmp_path), "5Miner").add(example_commitment())
    folder = tmp_path / "state" / "commitments"
    assert [file.name for file in folder.iterdir()] == ["5Miner"]
    assert len(kept_commitments(config(tmp_path), "5Other")) == 0


def test_a_second_miner_of_one_hotkey_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = kept_commitments(config(tmp_path), "5Miner")
    with pytest.raises(ConfigError, match="another miner of this hotkey"):
        kept_commitments(config(tmp_path), "5Miner")
    assert len(first) == 0


def test_commitments_have_the_operators_bound_in_bytes(tmp_path: Path) -> None:
    store = kept_commitments(config(tmp_path, commitment_memory_mib=1), "5Miner")
    size = example_commitment("request-0000").size_bytes
    for number in range((1 << 20) // size + 10):
        store.add(example_commitment(f"request-{number:04}"))
    assert (1 << 20) - 2 * size < store.size_bytes <= 1 << 20
    assert store.get("request-0000") is None


def test_a_foreign_file_among_commitments_is_refused_each_time_and_the_folder_let_go_of(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state" / "commitments" / "5Miner"
    folder.mkdir(parents=True)
    (folder / "commitments-00000001.log").write_text("notes of somebody")
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"commitments-00000001\.log"):
            kept_commitments(config(tmp_path), "5Miner")


def test_a_folder_that_can_not_be_made_is_said_with_a_cure(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConfigError, match=r"can't keep commitments in .*--state-dir"):
        kept_commitments(config(tmp_path), "5Miner")


def test_the_miners_own_hotkey_may_call_for_trials_and_a_strangers_may_not() -> None:
    own, listed, stranger = (key.ss58_address for key in (MINER, VALIDATOR, OTHER_MINER))
    admission = admission_of(MinerConfig(allow_hotkeys=(listed,)), own, [])
    assert [admission.admits(hotkey) for hotkey in (own, listed, stranger)] == [True, True, False]
