"""The replay as it is started: flags, exit status, the page, and downloads that break off."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from localnet.config import PROJECT_ROOT
from shared.errors import ConfigError, ObjectMissing, StoreError
from shared.object_store import FolderStore
from tests.validator.auditor_examples import AUDITOR, CHEAT
from tests.validator.replayed import Replayed, replayed
from validator.epoch_evidence import EpochRefused
from validator.replay_config import ReplayConfig, load_config
from validator.replay_downloads import CHUNK_BYTES, Downloads
from validator.replay_start import run


@pytest.fixture
def epochs(tmp_path: Path) -> Replayed:
    return replayed(tmp_path)


def config(epochs: Replayed, **changes: object) -> ReplayConfig:
    values: dict[str, object] = {"from_": str(epochs.folder / "store"), "publisher": AUDITOR.ss58_address}
    return ReplayConfig(**(values | changes))  # type: ignore[arg-type]


def test_the_flag_of_the_source_is_from() -> None:
    assert load_config(["--from", "there"], {}).from_ == "there"
    assert load_config([], {"CONSTANTINOPLE_FROM": "there"}).from_ == "there"


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--from", "x", "--epoch", "0"],
        ["--from", "x", "--epoch", "next"],
        ["--from", "x", "--reaudit", "3"],
    ],
)
def test_what_is_not_allowed_is_said(argv: list[str]) -> None:
    with pytest.raises(ConfigError):
        load_config(argv, {}, Path("/nowhere"))


def test_sound_epochs_end_with_status_0_and_the_page(
    epochs: Replayed, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "found.json"
    assert run(config(epochs, epoch="all", json=file)) == 0
    told = capsys.readouterr()
    assert "Everything that was checked holds." in told.out
    assert "epoch 3: computing everything again" in told.err
    found = json.loads(file.read_text())
    assert found["sound"]
    assert found["epochs"] == [1, 2, 3]


def test_epochs_that_do_not_hold_end_with_status_1_and_the_name(
    epochs: Replayed, capsys: pytest.CaptureFixture[str]
) -> None:
    publisher = epochs.resealed()
    scores = tuple(
        one.model_copy(update={"score": 0.25}) if one.hotkey == CHEAT.ss58_address else one
        for one in publisher.summary().scores
    )
    publisher.lie(scores=scores)
    assert run(config(epochs)) == 1
    told = capsys.readouterr().out
    assert "scores         DOES NOT HOLD: the scores do not follow" in told.replace("in the table ", "")
    assert "DOES NOT HOLD: scores." in told


def test_where_nothing_is_published_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing is published there"):
        run(ReplayConfig(from_=str(tmp_path)))


def test_an_epoch_to_come_is_no_epoch(epochs: Replayed) -> None:
    with pytest.raises(ConfigError, match="there is no epoch 9 yet"):
        run(config(epochs, epoch="9"))


def test_help_and_replay_need_no_model_library() -> None:
    script = "import sys, validator.replay_start; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], cwd=PROJECT_ROOT, check=True)


class Flaky(FolderStore):
    """Breaks off after so many reads."""

    def __init__(self, folder: Path, reads: int) -> None:
        super().__init__(folder)
        self.reads, self.starts = reads, list[int]()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        if not self.reads:
            raise StoreError("the network is down")
        self.reads -= 1
        self.starts.append(start)
        return super().get_range(key, start, length)


def test_a_download_that_broke_off_goes_on_where_it_stopped(epochs: Replayed, tmp_path: Path) -> None:
    publisher = epochs.resealed()
    data = publisher.store.get(publisher.key("requests"))
    padded = data + b"\0" * (2 * CHUNK_BYTES)
    publisher.lie_with_bytes("requests", padded, 24)
    promised = next(one for one in publisher.summary().files if one.table == "requests")
    flaky = Flaky(epochs.folder / "store", reads=1)
    downloads = Downloads(flaky, tmp_path / "kept", lambda words: None)
    with pytest.raises(StoreError, match="the network is down"):
        downloads.file(promised)
    flaky.reads = 10
    assert downloads.file(promised).read_bytes() == padded
    assert flaky.starts == [0, CHUNK_BYTES, 2 * CHUNK_BYTES], "the first chunk is read once"


def test_a_damaged_beginning_is_loaded_anew(epochs: Replayed, tmp_path: Path) -> None:
    promised = next(one for one in epochs.resealed().summary().files if one.table == "requests")
    partial = tmp_path / "kept" / f"{promised.key}.partial"
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"rubbish")
    downloads = Downloads(epochs.store, tmp_path / "kept", lambda words: None)
    assert downloads.file(promised).read_bytes() == epochs.store.get(promised.key)


def test_a_file_of_another_size_is_not_even_loaded(epochs: Replayed, tmp_path: Path) -> None:
    promised = next(one for one in epochs.resealed().summary().files if one.table == "requests")
    epochs.store.put(promised.key, epochs.store.get(promised.key) + b"more")
    flaky = Flaky(epochs.folder / "store", reads=10)
    with pytest.raises(EpochRefused, match="it has"):
        Downloads(flaky, tmp_path / "kept", lambda words: None).file(promised)
    assert flaky.starts == []


def test_a_pointer_is_never_taken_from_what_is_kept(tmp_path: Path) -> None:
    downloads = Downloads(FolderStore(tmp_path / "store"), tmp_path / "kept", lambda words: None)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "latest.json").write_bytes(b"old")
    with pytest.raises(ObjectMissing):
        downloads.pointer("latest.json")
