from pathlib import Path

import pytest

from shared.errors import ObjectMissing, StoreError
from validator.spool import Spool


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def test_an_epoch_is_ready_only_once_its_summary_is_there(spool: Spool) -> None:
    assert (spool.waiting(), spool.published(), spool.trouble()) == ([], [], "")
    spool.write(3, {"dataset/a.parquet": b"a", "epochs/3/manifest.json": b"{}"})
    assert spool.has_files(3)
    assert spool.waiting() == []
    spool.seal(3, b"summary")
    assert spool.waiting() == [3]
    assert spool.files(3).get("epochs/3.json") == b"summary"
    assert spool.files(3).get("dataset/a.parquet") == b"a"


def test_epochs_wait_in_the_order_of_their_numbers(spool: Spool) -> None:
    for number in (10, 9, 11):
        spool.write(number, {})
        spool.seal(number, b"summary")
    assert spool.waiting() == [9, 10, 11]
    spool.mark_published(9)
    assert (spool.waiting(), spool.published()) == ([10, 11], [9])
    spool.drop(9)
    assert (spool.waiting(), spool.published()) == ([10, 11], [])
    assert not spool.has_files(9)


def test_an_earlier_attempt_leaves_nothing(spool: Spool) -> None:
    spool.write(1, {"old": b"old"})
    spool.write(1, {"new": b"new"})
    assert spool.files(1).get("new") == b"new"
    with pytest.raises(ObjectMissing):
        spool.files(1).get("old")


def test_trouble_is_told_until_it_is_over(spool: Spool) -> None:
    spool.tell("the bucket is gone")
    assert spool.trouble() == "the bucket is gone"
    spool.tell("")
    assert (spool.trouble(), spool.waiting()) == ("", [])


def test_a_disk_that_fails_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match="can't be written"):
        Spool(tmp_path / "spool").write(1, {"key": b"data"})
