"""Every manipulation of published epochs, and the check that names it."""

from pathlib import Path

import pytest

from shared.canonical import canonical_json
from shared.dataset import Table, manifest_key
from tests.validator.auditor_examples import FOLLOWER
from tests.validator.replayed import EPOCHS, Replayed, replayed
from validator.epoch_summary import seal, summary_key
from validator.epoch_tables import FORMATS
from validator.replay_page import as_json, page
from validator.replay_report import CHECKS


@pytest.fixture
def epochs(tmp_path: Path) -> Replayed:
    return replayed(tmp_path)


def test_honest_epochs_hold_in_every_check(epochs: Replayed) -> None:
    report = epochs.replay()
    assert report.sound
    assert report.epochs == [1, 2, 3]
    assert {one.name for one in report.results if one.state == "holds"} == set(CHECKS) - {"re-audit"}


def test_the_page_is_one_page_and_names_every_check(epochs: Replayed) -> None:
    words = page(epochs.replay())
    assert all(f"\n{name} " in words for name in CHECKS if name != "re-audit")
    assert words.endswith("Everything that was checked holds.")
    assert len(words.splitlines()) < 50


def test_without_a_chain_what_needs_it_is_said_to_be_unchecked(epochs: Replayed) -> None:
    report = epochs.replay("latest", chained=False)
    assert report.sound
    unchecked = {one.name for one in report.results if one.state == "unchecked"}
    assert unchecked == {"blocks", "anchor", "chain weights"}
    assert "Not checked: blocks, anchor, chain weights." in page(report)
    assert as_json(report)["sound"] is True


@pytest.mark.parametrize("which", ["1", "2", "latest"])
def test_one_epoch_can_be_replayed_alone(epochs: Replayed, which: str) -> None:
    report = epochs.replay(which)
    assert report.sound
    assert report.epochs == [EPOCHS if which == "latest" else int(which)]


def test_what_is_kept_is_not_loaded_again(epochs: Replayed) -> None:
    epochs.replay()
    table = epochs.resealed().key("requests")
    (epochs.folder / "store" / table).unlink()
    assert epochs.failing() == set()


def raw_change(epochs: Replayed, key: str, old: bytes, new: bytes) -> None:
    data = epochs.store.get(key)
    assert old in data
    epochs.store.put(key, data.replace(old, new, 1))


def test_a_score_edited_by_a_stranger_breaks_the_signature(epochs: Replayed) -> None:
    raw_change(epochs, summary_key(3), b'"score":1.0', b'"score":0.9')
    epochs.resealed().point_to(3)
    assert "signature" in epochs.failing()


def test_a_summary_edited_below_the_newest_breaks_the_chain(epochs: Replayed) -> None:
    raw_change(epochs, summary_key(2), b'"score":1.0', b'"score":0.9')
    assert {"signature", "hash chain"} <= epochs.failing()


def test_a_pointer_to_something_else_is_named(epochs: Replayed) -> None:
    raw_change(epochs, summary_key(3), b'"score":1.0', b'"score":0.9')
    assert "pointer" in epochs.failing()


TABLES: tuple[Table, ...] = (
    "requests", "receipts", "texts", "challenges", "openings", "verdicts", "rounds", "scores", "weights",
)  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_a_table_edited_by_a_stranger_is_not_the_file_that_was_signed(epochs: Replayed, table: Table) -> None:
    key = epochs.resealed().key(table)
    data = epochs.store.get(key)
    epochs.store.put(key, data[:-20] + bytes([data[-20] ^ 1]) + data[-19:])
    assert epochs.failing() == {"files"}


def test_a_record_dropped_by_a_stranger_is_not_the_file_that_was_signed(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    rows = publisher.table("requests")
    epochs.store.put(publisher.key("requests"), FORMATS["requests"].encode(rows[1:]))
    assert epochs.failing() == {"files"}


def test_a_file_swapped_for_another_epochs_is_named(epochs: Replayed) -> None:
    other = epochs.store.get(epochs.resealed(2).key("verdicts"))
    epochs.store.put(epochs.resealed(3).key("verdicts"), other)
    assert epochs.failing() == {"files"}


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_dropped_epoch_is_missed_in_the_chain(epochs: Replayed, epoch: int) -> None:
    (epochs.folder / "store" / summary_key(epoch)).unlink()
    assert ("hash chain", f"epoch {epoch + 1} was built on epoch {epoch}") in [
        (name, words[: words.index(", and")]) for name, words in epochs.faults()
    ]


def test_a_newest_epoch_taken_back_is_seen_on_chain(epochs: Replayed) -> None:
    (epochs.folder / "store" / summary_key(3)).unlink()
    epochs.resealed().point_to(2)
    assert "anchor" in epochs.failing()


def test_a_reordered_chain_is_named(epochs: Replayed) -> None:
    second, third = (epochs.store.get(summary_key(number)) for number in (2, 3))
    epochs.store.put(summary_key(2), third)
    epochs.store.put(summary_key(3), second)
    epochs.resealed().point_to(3)
    faults = dict(epochs.faults())
    assert "holds epoch" in faults["hash chain"]


def test_a_summary_signed_by_another_is_named(epochs: Replayed) -> None:
    forged = epochs.resealed().summary().model_copy(update={"publisher": FOLLOWER.ss58_address})
    epochs.store.put(summary_key(3), seal(forged, FOLLOWER))
    epochs.resealed().point_to(3)
    assert "signature" in epochs.failing()
    assert "signature" in epochs.failing(publisher=None), "the epochs before are another's"


@pytest.mark.parametrize("signature", [None, "0x" + "00" * 64])
def test_a_forged_signature_is_named(epochs: Replayed, signature: str | None) -> None:
    forged = epochs.resealed().summary().model_copy(update={"signature": signature})
    epochs.store.put(summary_key(3), canonical_json(forged))
    epochs.resealed().point_to(3)
    assert "signature" in epochs.failing()


def test_another_manifest_is_named(epochs: Replayed) -> None:
    raw_change(epochs, manifest_key(3), b'"description":"names', b'"description":"NAMES')
    assert dict(epochs.faults()) == {"files": f"{manifest_key(3)} is not the manifest that the summary names"}
