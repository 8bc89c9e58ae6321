"""The epoch that the replay's benchmark makes is a sound one, of the size that was asked for."""

from pathlib import Path

from bench.epoch_answers import EpochSize
from bench.published_epoch import EpochMaker
from shared.object_store import FolderStore
from validator.replay_downloads import Downloads
from validator.replay_run import Replay


def test_the_benchmarks_epoch_holds_and_is_as_large_as_asked(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    EpochMaker(EpochSize(requests=40, miners=2, seed=1, layers=4), lambda words: None).publish(store)
    downloads = Downloads(store, tmp_path / "kept", lambda words: None)
    report = Replay("here", downloads, None, 97, None, None, None, lambda words: None).run("latest")
    assert report.sound
    assert "40 records" in next(one.words for one in report.results if one.name == "records")
