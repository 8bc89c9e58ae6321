"""Every way to tamper with a published epoch, and the name under which it is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shared.canonical import canonical_json, sha256_hex
from shared.dataset import Table
from shared.errors import ChainUnavailable, ObjectMissing
from shared.object_store import FolderStore
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import AUDITOR, CHEAT, FOLLOWER, HONEST, block_number, many_records
from tests.validator.published_epochs import HOUR_MS, Published
from validator.audit_coverage import check_coverage
from validator.database import Database
from validator.epoch_check import MAX_CLOCK_SKEW_MS, FollowedEpoch, check_latest
from validator.epoch_summary import (
    LATEST_KEY,
    EpochSummary,
    LatestEpoch,
    results_of,
    seal,
    summary_key,
)
from validator.measurement import EpochInputs
from validator.scoring_config import ScoringConfig


@pytest.fixture
async def published(database: Database, tmp_path: Path) -> Published:
    rig, store = AuditRig(database), FolderStore(tmp_path / "store")
    for first in (0, 1000):
        await rig.run_epoch(epoch_traffic(first, rig.clock()))
        rig.publish_next(store)
    return Published(store, rig.clock())


def test_an_untouched_epoch_passes(published: Published) -> None:
    summary, found = check_latest(published.store, published.expected(), None)
    assert (summary.epoch, found) == (2, published.followed(2))


def test_it_passes_after_the_one_before_and_again_after_itself(published: Published) -> None:
    for last in (published.followed(1), published.followed(2)):
        assert check_latest(published.store, published.expected(), last)[1] == published.followed(2)


def test_nothing_published_is_no_refusal(published: Published, tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        check_latest(FolderStore(tmp_path / "empty"), published.expected(), None)


def test_honest_evidence_published_again_passes(published: Published) -> None:
    published.lie_with_evidence(published.requests(), published.verdicts())
    check_latest(published.store, published.expected(), None)


def test_old_epochs_are_stale(published: Published) -> None:
    assert published.refusal(now_ms=published.now_ms + HOUR_MS + 60_000) == "stale"


def test_what_was_followed_becomes_stale_too(published: Published) -> None:
    late = published.now_ms + HOUR_MS + 60_000
    assert published.refusal(published.followed(2), now_ms=late) == "stale"


def test_epochs_of_the_future_are_refused(published: Published) -> None:
    assert published.refusal(now_ms=published.now_ms - MAX_CLOCK_SKEW_MS - 60_000) == "stale"
    check_latest(published.store, published.expected(now_ms=published.now_ms - 60_000), None)


def test_a_pointer_that_goes_back_is_a_replay(published: Published) -> None:
    pointer = LatestEpoch(epoch=1, digest=published.followed(1).digest)
    published.store.put(LATEST_KEY, canonical_json(pointer))
    assert published.refusal(published.followed(2)) == "replayed"
    check_latest(published.store, published.expected(), None)


def test_an_old_summary_under_a_new_number_is_a_replay(published: Published) -> None:
    published.replace(published.store.get(summary_key(1)))
    assert published.refusal() == "replayed"


def test_a_followed_epoch_that_changes_is_rewritten_history(published: Published) -> None:
    last = published.followed(2)
    published.lie(audits_outstanding=1)
    assert published.refusal(last) == "rewritten"


def test_a_changed_epoch_before_is_seen(published: Published) -> None:
    changed = published.summary(1).model_copy(update={"audits_outstanding": 9})
    published.replace(seal(changed, AUDITOR), epoch=1)
    assert published.refusal() == "chain"


def test_a_fork_after_the_followed_epoch_is_seen(published: Published) -> None:
    changed = seal(published.summary(1).model_copy(update={"audits_outstanding": 9}), AUDITOR)
    assert published.refusal(FollowedEpoch(1, changed)) == "chain"


def test_a_history_that_is_cut_off_is_seen(published: Published) -> None:
    published.lie(previous_digest=None)
    assert published.refusal(published.followed(1)) == "chain"


def test_a_missing_epoch_before_is_seen(published: Published, tmp_path: Path) -> None:
    (tmp_path / "store" / summary_key(1)).unlink()
    assert published.refusal() == "file"


def test_bytes_that_the_pointer_does_not_name_are_refused(published: Published) -> None:
    published.store.put(summary_key(2), published.store.get(summary_key(2)) + b" ")
    assert published.refusal() == "digest"


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"epoch":1e999}', b"[" * 100_000])
def test_a_pointer_of_rubbish_is_refused(published: Published, data: bytes) -> None:
    published.store.put(LATEST_KEY, data)
    assert published.refusal() == "pointer"


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000])
def test_a_summary_of_rubbish_is_refused(published: Published, data: bytes) -> None:
    published.replace(data)
    assert published.refusal() == "format"


def test_an_unknown_field_is_refused(published: Published) -> None:
    body = published.summary().model_dump(mode="json") | {"note": "trust me"}
    published.replace(canonical_json(body))
    assert published.refusal() == "format"


@pytest.mark.parametrize("signature", [None, "0x" + "00" * 64, "0x" + "ff" * 64])
def test_an_unsigned_summary_is_refused(published: Published, signature: str | None) -> None:
    published.replace(canonical_json(published.summary().model_copy(update={"signature": signature})))
    assert published.refusal() == "signature"


def test_the_signature_of_another_summary_is_refused(published: Published) -> None:
    stolen = published.summary(1).signature
    published.replace(canonical_json(published.summary().model_copy(update={"signature": stolen})))
    assert published.refusal() == "signature"


@pytest.mark.parametrize(
    ("field", "value"),
    [("closed_at_ms", 1), ("block", 1), ("weights", ()), ("model", "another"), ("audits_outstanding", 3)],
)
def test_a_field_changed_after_signing_is_refused(published: Published, field: str, value: Any) -> None:
    published.replace(canonical_json(published.summary().model_copy(update={field: value})))
    assert published.refusal() == "signature"


def test_another_publisher_is_refused(published: Published) -> None:
    published.lie(FOLLOWER)
    assert published.refusal() == "publisher"


def test_another_subnet_is_refused(published: Published) -> None:
    published.lie(netuid=1)
    assert published.refusal() == "subnet"


@pytest.mark.parametrize("table", ["requests", "receipts", "verdicts", "rounds"])
def test_a_changed_file_is_refused(published: Published, table: Table) -> None:
    data = published.store.get(published.key(table))
    published.store.put(published.key(table), data[:-1] + bytes([data[-1] ^ 1]))
    assert published.refusal() == "file"


@pytest.mark.parametrize("table", ["requests", "receipts", "verdicts", "rounds"])
def test_a_missing_file_is_refused(published: Published, tmp_path: Path, table: Table) -> None:
    (tmp_path / "store" / published.key(table)).unlink()
    assert published.refusal() == "file"


def test_a_file_that_is_not_named_is_refused(published: Published) -> None:
    published.lie(files=())
    assert published.refusal() == "file"


@pytest.mark.parametrize("data", [b"rubbish\n", b"{}\n", b"\n"])
def test_a_file_of_rubbish_is_refused_though_it_is_signed_for(published: Published, data: bytes) -> None:
    published.lie_with_bytes("verdicts", data, 1)
    assert published.refusal() == "file"


def with_score(summary: EpochSummary, value: float) -> EpochSummary:
    scores = tuple(
        one.model_copy(update={"score": value}) if one.hotkey == CHEAT.ss58_address else one
        for one in summary.scores
    )
    return summary.model_copy(update={"scores": scores})


def test_a_score_that_does_not_follow_is_refused(published: Published) -> None:
    published.lie(scores=with_score(published.summary(), 0.5).scores)
    assert published.refusal() == "scores"


def test_a_score_that_is_wrong_in_its_last_bit_is_refused(published: Published) -> None:
    published.lie(scores=with_score(published.summary(), 5e-324).scores)
    assert published.refusal() == "scores"


def test_a_miner_left_out_of_the_scores_is_refused(published: Published) -> None:
    published.lie(scores=published.summary().scores[:-1])
    assert published.refusal() == "scores"


def test_a_changed_reason_is_refused(published: Published) -> None:
    first, *others = published.summary().scores
    published.lie(scores=(first.model_copy(update={"reasons": ("bribed",)}), *others))
    assert published.refusal() == "scores"


def change_weight(summary: EpochSummary) -> tuple[Any, ...]:
    first, *others = summary.weights
    return (first.model_copy(update={"weight": first.weight - 1}), *others)


@pytest.mark.parametrize("change", [change_weight, lambda summary: summary.weights[:-1], lambda _: ()])
def test_weights_that_do_not_follow_are_refused(
    published: Published, change: Callable[[EpochSummary], tuple[Any, ...]]
) -> None:
    published.lie(weights=change(published.summary()))
    assert published.refusal() == "weights"


def test_other_constants_are_refused(published: Published) -> None:
    summary = published.summary()
    lenient = summary.scoring.model_copy(update={"reject_log_evidence": 1000.0})
    requests, verdicts = published.requests(), published.verdicts()
    inputs = EpochInputs(2, requests, verdicts, summary.miners, summary.history, rounds=published.rounds())
    published.lie(scoring=lenient, **dict(results_of(inputs, lenient)))
    assert published.refusal() == "constants"


def test_a_forgiven_past_is_refused(published: Published) -> None:
    summary = published.summary()
    requests, verdicts = published.requests(), published.verdicts()
    inputs = EpochInputs(2, requests, verdicts, summary.miners, (), rounds=published.rounds())
    published.lie(history=(), **dict(results_of(inputs, summary.scoring)))
    assert published.refusal() == "history"


def test_a_past_that_is_forgiven_for_the_next_epoch_is_refused(published: Published) -> None:
    published.lie(history_after=())
    assert published.refusal() == "history"


def test_a_verdict_listed_twice_is_refused(published: Published) -> None:
    verdicts = published.verdicts()
    published.lie_with_evidence(published.requests(), [*verdicts, verdicts[0]])
    assert published.refusal() == "file"


def test_a_request_listed_twice_is_refused(published: Published) -> None:
    requests = published.requests()
    published.lie_with_evidence([*requests, requests[0]], published.verdicts())
    assert published.refusal() == "file"


def test_a_verdict_about_no_request_is_refused(published: Published) -> None:
    verdicts = published.verdicts()
    requests = [one for one in published.requests() if one.request_id != verdicts[0].request_id]
    published.lie_with_evidence(requests, verdicts)
    assert published.refusal() == "evidence"


def test_a_challenge_that_was_chosen_is_refused(published: Published) -> None:
    first, *others = published.verdicts()
    chosen = first.model_copy(update={"challenge_seed": sha256_hex(b"chosen")})
    published.lie_with_evidence(published.requests(), [chosen, *others])
    assert published.refusal() == "evidence"


def test_a_challenge_drawn_with_another_block_than_stated_is_refused(published: Published) -> None:
    first, *others = published.verdicts()
    other = first.model_copy(update={"challenge_block_hash": block_number(999).hash})
    published.lie_with_evidence(published.requests(), [other, *others])
    assert published.refusal() == "evidence"


def test_an_audit_that_was_left_out_is_refused(published: Published) -> None:
    published.lie_with_evidence(published.requests(), published.verdicts()[1:])
    assert published.refusal() == "evidence"
    published.lie(audits_outstanding=1)
    assert published.refusal() == "evidence", "admitting it is honest, and yet nothing to follow"


def test_outstanding_audits_that_are_not_are_refused(published: Published) -> None:
    published.lie(audits_outstanding=1)
    assert published.refusal() == "evidence"


def test_other_blocks_than_the_verdicts_name_are_refused(published: Published) -> None:
    published.lie(challenge_blocks=())
    assert published.refusal() == "evidence"


def test_failures_turned_into_voids_leave_audits_missing(published: Published) -> None:
    void = {"outcome": "inconclusive", "log_e": 0.0}
    verdicts = [
        one.model_copy(update=void) if one.miner_hotkey == CHEAT.ss58_address else one
        for one in published.verdicts()
    ]
    published.lie_with_evidence(published.requests(), verdicts)
    assert published.refusal() == "evidence"


def test_a_pass_that_weighs_more_or_less_than_its_evidence_is_refused(published: Published) -> None:
    passed = next(one for one in published.verdicts() if one.outcome == "pass")
    others = [one for one in published.verdicts() if one != passed]
    for weight in (passed.log_e + 5.0, passed.log_e - 5.0):
        published.lie_with_evidence(
            published.requests(), [passed.model_copy(update={"log_e": weight}), *others]
        )
        assert published.refusal() == "evidence"


def test_a_failure_that_weighs_more_or_less_than_its_check_is_refused(published: Published) -> None:
    failed = next(one for one in published.verdicts() if one.outcome == "fail")
    others = [one for one in published.verdicts() if one != failed]
    for weight in (failed.log_e + 1.0, failed.log_e - 1.0, 0.0):
        published.lie_with_evidence(
            published.requests(), [failed.model_copy(update={"log_e": weight}), *others]
        )
        assert published.refusal() == "evidence"


def test_a_uid_listed_twice_is_refused(published: Published) -> None:
    summary = published.summary()
    doubled = (*summary.miners, summary.miners[0].model_copy(update={"hotkey": FOLLOWER.ss58_address}))
    published.lie(miners=doubled)
    assert published.refusal() == "evidence"


async def test_an_epoch_that_the_auditor_could_not_finish_is_not_followed_and_the_next_is(
    database: Database, tmp_path: Path
) -> None:
    rig, store = AuditRig(database), FolderStore(tmp_path / "store")
    await rig.run_epoch([])
    rig.publish_next(store)
    rig.auditor.errors = [ChainUnavailable("the network is down")] * 10_000
    await rig.metagraph.refresh()
    rig.take(epoch_traffic(0, rig.clock()))
    await rig.new_block(6)
    await rig.step()
    await rig.new_block(6)
    await rig.step()
    rig.publish_next(store)
    published = Published(store, rig.clock())
    assert published.summary(2).audits_outstanding == 24
    assert published.refusal(published.followed(1)) == "evidence"
    rig.auditor.errors = []
    await rig.run_epoch(epoch_traffic(1000, rig.clock()))
    rig.publish_next(store)
    assert check_latest(store, published.expected(now_ms=rig.clock()), published.followed(1))[0].epoch == 3


async def test_audits_beyond_the_rule_are_not_published(database: Database, tmp_path: Path) -> None:
    config = ScoringConfig(max_audits=5)
    rig, store = AuditRig(database, config=config), FolderStore(tmp_path / "store")
    await rig.metagraph.refresh()
    records = many_records(HONEST, 1, range(40), finished_at_ms=rig.clock())
    rig.take(records[:20])
    await rig.new_block()
    for _ in range(4):
        await rig.step()
    rig.take(records[20:])
    for _ in range(4):
        await rig.step()
    early = {one.request_id for one in rig.requests.verdicts(1)}
    sealed = await rig.run_epoch([])
    rig.publish_next(store)
    kept = Published(store, rig.clock(), newest=1).verdicts()
    assert len(kept) == 5
    assert len(early | {one.request_id for one in kept}) > 5, "some were made and are not published"
    summary = sealed.summary()
    inputs = EpochInputs(
        1,
        Published(store, rig.clock(), newest=1).requests(),
        kept,
        summary.miners,
        summary.history,
        summary.challenge_blocks,
    )
    check_coverage(inputs, summary.audits_outstanding, config)


async def test_a_long_gap_is_walked_back(database: Database, tmp_path: Path) -> None:
    rig, store = AuditRig(database), FolderStore(tmp_path / "store")
    for _ in range(6):
        await rig.run_epoch([])
        rig.publish_next(store)
    published = Published(store, rig.clock())
    assert check_latest(store, published.expected(), published.followed(1))[1].epoch == 6
    changed = published.summary(3).model_copy(update={"audits_outstanding": 9})
    store.put(summary_key(3), seal(changed, AUDITOR))
    assert published.refusal(published.followed(1)) == "chain"
