"""A publisher that signs edited results or records again: which check names what it did."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.canonical import sha256_hex
from shared.dataset import Table
from shared.request_facts import RequestFacts
from tests.validator.auditor_examples import AUDITOR, CHEAT, HONEST
from tests.validator.replayed import Replayed, replayed
from validator.epoch_summary import seal, summary_key


@pytest.fixture
def epochs(tmp_path: Path) -> Replayed:
    return replayed(tmp_path)


def test_an_edited_score_does_not_follow(epochs: Replayed) -> None:
    publisher = epochs.resealed(2)
    scores = tuple(
        one.model_copy(update={"score": 0.5}) if one.hotkey == CHEAT.ss58_address else one
        for one in publisher.summary().scores
    )
    publisher.lie_with(replace(publisher.contents(), scores=scores), scores=scores)
    assert "scores" in epochs.failing(chained=False)


def test_a_score_edited_in_its_last_bit_does_not_follow(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    first, *others = publisher.summary().scores
    edited = (first.model_copy(update={"score": first.score - 2**-53}), *others)
    publisher.lie(scores=edited)
    assert epochs.failing(chained=False) == {"scores"}


@pytest.mark.parametrize("table", ["scores", "weights"])
def test_a_table_that_says_something_else_than_the_summary_is_named(epochs: Replayed, table: Table) -> None:
    publisher = epochs.resealed()
    contents = publisher.contents()
    rows = getattr(contents, table)[:-1]
    publisher.lie_with(replace(contents, **{table: rows}))
    assert epochs.failing(chained=False) == {table}


def test_an_edited_weight_does_not_follow(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    first, *others = publisher.summary().weights
    publisher.lie(weights=(first.model_copy(update={"weight": first.weight - 1}), *others))
    assert epochs.failing() == {"weights", "anchor"}


def slower(one: RequestFacts, hotkey: str = HONEST.ss58_address) -> RequestFacts:
    changes = {"duration_ms": one.duration_ms * 2}
    return one.model_copy(update=changes) if one.miner_hotkey == hotkey else one


def test_an_edited_record_leads_to_other_scores(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    publisher.lie_about_requests([slower(one) for one in publisher.requests()])
    assert "scores" in epochs.failing(chained=False)


def test_an_edited_record_that_its_leaf_is_not_of_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    rows = [
        row.model_copy(update={"duration_ms": row.duration_ms * 2}) for row in publisher.table("requests")
    ]
    publisher.lie_with_rows("requests", rows)
    assert "is not the one of its leaf" in dict(epochs.faults(chained=False))["records"]


def test_a_record_dropped_without_its_receipt_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    publisher.lie_with_rows("requests", publisher.table("requests")[1:])
    assert "belongs to no record" in dict(epochs.faults(chained=False))["records"]


def test_an_edited_record_with_all_that_follows_from_it_is_seen_on_chain(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    edited = [slower(one) for one in publisher.requests()]
    publisher.lie_with_evidence(edited, publisher.verdicts())
    assert epochs.failing(chained=False) == set(), "it is consistent, and yet it is not what was anchored"
    assert "anchor" in epochs.failing()


def test_a_dropped_record_is_missed_where_it_was_audited(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    audited = publisher.verdicts()[0].request_id
    publisher.lie_about_requests([one for one in publisher.requests() if one.request_id != audited])
    assert {"challenges", "texts"} <= epochs.failing(chained=False)


def test_a_record_dropped_with_all_that_follows_from_it_is_seen_on_chain(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    judged = {one.request_id for one in publisher.verdicts()}
    spared = next(one for one in publisher.requests() if one.request_id not in judged)
    kept = [one for one in publisher.requests() if one != spared]
    publisher.lie_with_evidence(kept, publisher.verdicts())
    assert "anchor" in epochs.failing()


def test_a_root_of_other_records_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    data, rows = epochs.store.get(publisher.key("requests")), len(publisher.table("requests"))
    for stated in ({"records_root": sha256_hex(b"other")}, {"records": 23}):
        publisher.lie_with_bytes("requests", data, rows, **stated)
        assert epochs.failing(chained=False) == {"records"}
    epochs.resealed().lie(records_root=sha256_hex(b"another"))
    assert epochs.failing(chained=False) == {"files"}, "the manifest has the root too"


def test_an_epoch_dropped_by_its_publisher_breaks_the_history(epochs: Replayed) -> None:
    third = epochs.resealed(3)
    contents, before = third.contents(), sha256_hex(epochs.store.get(summary_key(1)))
    moved = third.summary().model_copy(update={"epoch": 2, "previous_digest": before})
    second = epochs.resealed(2)
    second.last = 2
    epochs.store.put(summary_key(2), seal(moved, AUDITOR))
    second.lie_with(contents)
    (epochs.folder / "store" / summary_key(3)).unlink()
    assert {"history", "anchor"} <= epochs.failing()


def test_epochs_reordered_by_their_publisher_break_the_history(epochs: Replayed) -> None:
    second, third = epochs.resealed(2), epochs.resealed(3)
    contents = second.contents(), third.contents()
    summaries = second.summary(), third.summary()
    first = sha256_hex(epochs.store.get(summary_key(1)))
    moved = summaries[1].model_copy(update={"epoch": 2, "previous_digest": first})
    epochs.store.put(summary_key(2), seal(moved, AUDITOR))
    epochs.store.put(summary_key(3), seal(summaries[0].model_copy(update={"epoch": 3}), AUDITOR))
    second.lie_with(contents[1])
    third.lie_with(contents[0])
    second.replace(epochs.store.get(summary_key(2)))
    assert {"history", "hash chain", "anchor"} <= epochs.failing()


def test_a_receipt_with_a_forged_signature_that_passed_its_audit_is_named(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    passed = next(one for one in publisher.verdicts() if one.outcome == "pass")

    def forged(one: RequestFacts) -> RequestFacts:
        if one.request_id != passed.request_id or one.receipt is None:
            return one
        receipt = one.receipt.model_copy(update={"signature": "0x" + "11" * 64})
        return one.model_copy(update={"receipt": receipt})

    publisher.lie_about_requests([forged(one) for one in publisher.requests()])
    faults = dict(epochs.faults(chained=False))
    assert "is not signed by" in faults["receipts"]


def test_a_badly_signed_receipt_that_was_not_audited_is_counted_and_accuses_nobody(epochs: Replayed) -> None:
    publisher = epochs.resealed()
    judged = {one.request_id for one in publisher.verdicts()}
    spared = next(one for one in publisher.requests() if one.request_id not in judged)
    assert spared.receipt is not None
    other = next(one.receipt for one in publisher.requests() if one.request_id in judged and one.receipt)
    bad = spared.model_copy(
        update={"receipt": spared.receipt.model_copy(update={"signature": other.signature})}
    )
    records = [bad if one == spared else one for one in publisher.requests()]
    publisher.lie_about_requests(records)
    words = next(
        one.words for one in epochs.replay("latest", chained=False).results if one.name == "receipts"
    )
    assert "23 receipts are signed by the hotkeys that they name, 1 are not" in words


def test_a_swapped_file_of_its_publisher_is_not_that_of_the_root(epochs: Replayed) -> None:
    other = epochs.resealed(2).requests()
    publisher = epochs.resealed(3)
    root = publisher.summary().records_root
    changed = publisher.put(replace(publisher.contents(), requests=other))
    publisher.lie(**changed | {"records_root": root})
    assert "files" in epochs.failing(chained=False)
    publisher.lie(**changed)
    assert {"texts", "challenges"} <= epochs.failing(chained=False)
