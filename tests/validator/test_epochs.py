import json

import pytest

from shared.canonical import sha256_hex
from shared.dataset import manifest_key
from shared.errors import ChainUnavailable
from tests.validator.audit_rig import EPOCH_SECONDS, AuditRig, epoch_traffic
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    START_MS,
    ExampleChain,
    ExampleClock,
    block_number,
    many_records,
)
from validator.audit_history import standings
from validator.database import Database
from validator.epoch_state import EpochState
from validator.epoch_tables import FORMATS
from validator.epoch_terms import EpochTerms
from validator.epochs import MAX_GRACES
from validator.scoring_config import ScoringConfig
from validator.weight_state import WeightEntry, WeightQueue


def terms(seconds: float) -> EpochTerms:
    return EpochTerms(97, "tiny", sha256_hex(b""), seconds, ScoringConfig())


def test_long_epochs_are_jittered_by_a_few_per_cent() -> None:
    lengths = [terms(1500).length_ms(chance) for chance in (0.0, 0.5, 0.999999)]
    assert lengths == [1_455_000, 1_500_000, pytest.approx(1_545_000, abs=1)]


def test_short_epochs_last_as_long_as_they_say() -> None:
    assert {terms(30).length_ms(chance) for chance in (0.0, 0.5, 0.9)} == {30_000}


async def test_an_epoch_ends_with_weights_for_the_honest_and_none_for_the_cheat(database: Database) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    summary = sealed.summary()
    assert {one.uid: one.score > 0 for one in summary.scores} == {1: True, 2: True, 3: False}
    assert [one.uid for one in summary.weights] == [1, 2]
    waiting = rig.weights.waiting()
    assert waiting is not None
    assert waiting.entries[0] == WeightEntry(1, HONEST.ss58_address, 65535)
    assert rig.epochs.in_phase("open") is not None


async def test_the_summary_names_its_files_and_the_summary_before(database: Database) -> None:
    rig = AuditRig(database)
    first = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    second = await rig.run_epoch(epoch_traffic(1000, rig.clock()))
    assert first.summary().previous_digest is None
    assert second.summary().previous_digest == first.digest == sha256_hex(first.data)
    assert second.summary().history == first.summary().history_after != ()
    kept = rig.spool.files(2)
    assert {file.table for file in second.summary().files} == set(FORMATS)
    assert all(sha256_hex(kept.get(file.key)) == file.sha256 for file in second.summary().files)
    assert sha256_hex(kept.get(manifest_key(2))) == second.summary().manifest_sha256


async def test_numbers_go_on_after_a_restart(database: Database) -> None:
    rig = AuditRig(database)
    await rig.run_epoch(epoch_traffic(0, rig.clock()))
    again = AuditRig(database, rig.chain, rig.clock)
    sealed = await again.run_epoch(epoch_traffic(1000, rig.clock()))
    assert (sealed.number, sealed.summary().epoch) == (2, 2)


async def test_a_restart_while_closing_goes_on_with_the_audits(database: Database) -> None:
    rig = AuditRig(database)
    await rig.metagraph.refresh()
    rig.take(epoch_traffic(0, rig.clock()))
    await rig.new_block(1 + round(EPOCH_SECONDS / 12))
    await rig.step()
    assert rig.loop.closing() == 1
    audited = len(rig.requests.verdicts(1))
    again = AuditRig(database, rig.chain, rig.clock)
    await again.metagraph.refresh()
    for _ in range(20):
        await again.step()
    sealed = again.epochs.sealed()
    assert sealed is not None
    assert len(again.requests.verdicts(1)) > audited
    assert len(set(rig.auditor.audited) & set(again.auditor.audited)) == 0, "no audit is made twice"
    assert sealed.summary().audits_outstanding == 0


async def test_an_epoch_without_traffic_sets_no_weights_and_says_why(database: Database) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch([])
    assert sealed.summary().weights == ()
    assert rig.weights.waiting() is None
    newest = rig.weights.newest()
    assert newest is not None
    assert (newest.state, newest.detail) == ("skipped", "no miner earned anything; every score says why")
    assert all(one.reasons for one in sealed.summary().scores)


async def test_audits_that_never_end_do_not_hold_an_epoch_up_forever(database: Database) -> None:
    rig = AuditRig(database)
    rig.auditor.errors = [ChainUnavailable("own fault")] * 10_000
    await rig.metagraph.refresh()
    rig.take(many_records(HONEST, 1, range(3), finished_at_ms=rig.clock()))
    await rig.new_block(6)
    for _ in range(5):
        await rig.step()
    assert rig.epochs.sealed() is None
    await rig.new_block(6)
    await rig.step()
    sealed = rig.epochs.sealed()
    assert sealed is not None
    assert sealed.summary().audits_outstanding == 3


async def test_an_epoch_is_waited_for_as_long_as_its_audits_go_on_but_not_forever(database: Database) -> None:
    rig = AuditRig(database)
    await rig.metagraph.refresh()
    rig.take(many_records(HONEST, 1, range(60), finished_at_ms=rig.clock()))
    rig.take(many_records(CHEAT, 3, range(100, 103), finished_at_ms=rig.clock()))
    await rig.new_block(6)
    await rig.loop.step()
    since_ms, grace_ms = rig.clock(), terms(EPOCH_SECONDS).grace_ms
    rig.auditor.errors.extend(ChainUnavailable("own fault") for _ in range(10_000))
    other = AuditRig(database, rig.chain, rig.clock, name="other")
    await other.metagraph.refresh()
    for _ in range(MAX_GRACES):
        assert rig.epochs.sealed() is None
        rig.clock.now_ms += grace_ms - 1
        await other.audits.step(rig.loop.plans())
        await other.audits.join()
        await rig.step()
    rig.clock.now_ms = since_ms + MAX_GRACES * grace_ms
    await rig.step()
    assert rig.epochs.sealed() is not None


async def test_what_is_audited_of_the_next_epoch_waits_for_the_tests_of_this_one(database: Database) -> None:
    rig = AuditRig(database)
    assert {number: plan.standings for number, plan in rig.loop.plans().items()} == {1: {}}
    await rig.new_block(6)
    await rig.loop.step()
    plans = rig.loop.plans()
    assert list(plans) == [1, 2], "the closing epoch first"
    assert (plans[1].standings, plans[1].complete) == ({}, True)
    assert (plans[2].standings, plans[2].complete) == (None, False)
    await rig.step()
    assert list(rig.loop.plans()) == [2]
    assert rig.loop.plans()[2].standings == {}


async def test_the_next_epoch_starts_with_the_tests_of_the_last(database: Database) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    tests = standings(sealed.summary().history_after)
    assert tests[CHEAT.ss58_address].log_evidence > 0
    assert rig.loop.plans()[2].standings == tests


async def test_time_without_a_chain_does_not_count_against_the_audits(database: Database) -> None:
    rig = AuditRig(database)
    await rig.metagraph.refresh()
    rig.take(epoch_traffic(0, rig.clock()))
    await rig.new_block(6)
    await rig.audits.step(rig.loop.plans())
    await rig.loop.step()
    assert rig.loop.closing() == 1
    rig.chain.down = True
    rig.clock.now_ms += 10 * 60_000
    with pytest.raises(ChainUnavailable):
        await rig.step()
    rig.loop.note_chain_trouble()
    rig.chain.down = False
    for _ in range(20):
        await rig.step()
    sealed = rig.epochs.sealed()
    assert sealed is not None
    assert sealed.summary().audits_outstanding == 0


async def test_a_chain_that_fails_at_the_close_changes_nothing(database: Database) -> None:
    rig = AuditRig(database)
    await rig.new_block(6)
    await rig.step()
    rig.chain.down = True
    with pytest.raises(ChainUnavailable):
        await rig.loop.step()
    assert rig.epochs.sealed() is None
    rig.chain.down = False
    await rig.step()
    assert rig.epochs.sealed() is not None


async def test_a_hotkey_that_moved_to_another_uid_keeps_its_history(database: Database) -> None:
    rig = AuditRig(database)
    await rig.run_epoch(epoch_traffic(0, rig.clock()))
    rig.auditor.verdicts = {}
    moved = [one for one in rig.chain.registered if one.hotkey != CHEAT.ss58_address]
    cheat = next(one for one in rig.chain.registered if one.hotkey == CHEAT.ss58_address)
    rig.chain.registered = [*moved, type(cheat)(9, cheat.hotkey, cheat.axon, False, 0, 0)]
    sealed = await rig.run_epoch(epoch_traffic(1000, rig.clock()))
    scored = {one.hotkey: one for one in sealed.summary().scores}
    assert scored[CHEAT.ss58_address].uid == 9
    assert scored[CHEAT.ss58_address].score == 0.0
    assert "the sequential test rejects this hotkey" in scored[CHEAT.ss58_address].reasons[0]


async def test_a_newcomer_does_not_inherit_the_history_of_its_uid(database: Database) -> None:
    rig = AuditRig(database)
    rig.auditor.verdicts = {HONEST.ss58_address: "fail"}
    await rig.run_epoch(epoch_traffic(0, rig.clock()))
    rig.auditor.verdicts = {}
    rig.chain.registered = [
        type(one)(one.uid, CHEAT.ss58_address, one.axon, False, 0, 0) if one.uid == 1 else one
        for one in rig.chain.registered
        if one.uid != 3
    ]
    records = many_records(CHEAT, 1, range(1000, 1008), finished_at_ms=rig.clock())
    sealed = await rig.run_epoch(records)
    scored = {one.uid: one for one in sealed.summary().scores}
    assert scored[1].hotkey == CHEAT.ss58_address
    assert scored[1].score == 1.0


def test_only_the_newest_weights_wait(database: Database) -> None:
    state, queue = EpochState(database), WeightQueue(database)
    entry = WeightEntry(1, HONEST.ss58_address, 65535)
    for now_ms in range(3):
        state.open_next(now_ms, now_ms + 1)
    state.save_scored(1, b"{}", [entry], "", ())
    state.save_scored(2, b"{}", [WeightEntry(2, ALSO_HONEST.ss58_address, 65535)], "", ())
    waiting = queue.waiting()
    assert waiting is not None
    assert waiting.epoch == 2
    queue.mark(1, "set", "too late")
    queue.mark(2, "set", "accepted")
    newest = queue.newest()
    assert newest is not None
    assert (newest.epoch, newest.state) == (2, "set")
    assert queue.waiting() is None


def test_an_epoch_in_which_nobody_earned_withdraws_older_weights_that_wait(database: Database) -> None:
    state, queue = EpochState(database), WeightQueue(database)
    for now_ms in range(3):
        state.open_next(now_ms, now_ms + 1)
    state.save_scored(1, b"{}", [WeightEntry(1, HONEST.ss58_address, 65535)], "", ())
    state.save_scored(2, b"{}", [], "nobody", ())
    assert queue.waiting() is None


def test_an_adopted_summary_sets_number_and_digest(database: Database) -> None:
    state = EpochState(database)
    assert state.is_empty()
    state.adopt(41, json.dumps({"epoch": 41}).encode(), now_ms=START_MS)
    assert not state.is_empty()
    assert state.open_next(START_MS, START_MS + 1) == 42
    sealed = state.sealed()
    assert sealed is not None
    assert (sealed.number, sealed.digest) == (41, sha256_hex(b'{"epoch": 41}'))
    assert state.oldest_unpublished() is None


def test_the_open_epoch_is_not_reopened_by_a_restart(database: Database) -> None:
    clock = ExampleClock(START_MS)
    AuditRig(database, ExampleChain(), clock)
    clock.now_ms = block_number(3).timestamp_ms
    AuditRig(database, ExampleChain(), clock)
    assert [one.number for one in EpochState(database).list(10)] == [1]
