from collections.abc import Sequence

import pytest

from shared.chain import Block
from shared.errors import ChainUnavailable, ModelError
from shared.records import RequestRecord
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import CHEAT, HONEST, START_MS, many_records
from validator.audit_loop import CONCURRENT_AUDITS, CONCURRENT_OF_ONE_MINER, MAX_ATTEMPTS, RETRY_MS
from validator.audit_rate import audit_rate
from validator.challenge_schedule import AuditPlan
from validator.challenge_selection import record_seed, selection_draw
from validator.database import Database
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing

CONFIG = ScoringConfig()

OPEN = AuditPlan({}, complete=False)
CLOSING = AuditPlan({}, complete=True)
TRUSTED = {
    miner.ss58_address: Standing(log_evidence=0.0, support=0, audits=10_000, passes_in_a_row=10_000)
    for miner in (HONEST, CHEAT)
}


async def settle(rig: AuditRig, plan: AuditPlan, rounds: int = 40) -> None:
    for _ in range(rounds):
        await rig.audits.step({1: plan})
        await rig.audits.join()


def draws_of(records: Sequence[RequestRecord], block: Block) -> dict[str, float]:
    return {record.request_id: selection_draw(record_seed(record, block)) for record in records}


@pytest.fixture
async def rig(database: Database) -> AuditRig:
    built = AuditRig(database)
    await built.metagraph.refresh()
    return built


async def test_nothing_is_audited_before_its_challenge_block_exists(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(30), finished_at_ms=rig.clock()))
    await settle(rig, CLOSING)
    assert rig.auditor.audited == []
    await rig.new_block()
    await settle(rig, CLOSING)
    assert len(rig.auditor.audited) >= 5


async def test_exactly_the_drawn_requests_are_audited(rig: AuditRig) -> None:
    records = many_records(HONEST, 1, range(60), finished_at_ms=rig.clock())
    rig.take(records)
    await rig.new_block()
    await settle(rig, AuditPlan(TRUSTED, complete=False))
    draws = draws_of(records, await rig.chain.head())
    rate = audit_rate(TRUSTED[HONEST.ss58_address], (), CONFIG)
    below_rate = {request_id for request_id, draw in draws.items() if draw < rate}
    assert set(rig.auditor.audited) == below_rate
    await settle(rig, AuditPlan(TRUSTED, complete=True))
    assert set(rig.auditor.audited) == below_rate | set(sorted(draws, key=lambda one: draws[one])[:5])
    assert len(rig.auditor.audited) == len(set(rig.auditor.audited))


async def test_a_newcomer_is_audited_whole(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(20), finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, OPEN)
    assert len(rig.auditor.audited) == 20


async def test_a_failed_audit_brings_all_of_the_epoch_under_audit(rig: AuditRig) -> None:
    records = many_records(HONEST, 1, range(60), finished_at_ms=rig.clock())
    rig.take(records)
    await rig.new_block()
    await settle(rig, AuditPlan(TRUSTED, complete=True))
    assert 5 <= len(rig.auditor.audited) < 30
    block = await rig.chain.head()
    more = many_records(HONEST, 1, range(100, 400), finished_at_ms=block.timestamp_ms - 1)
    drawn = next(one for one in more if draws_of([one], block)[one.request_id] < 0.1)
    rig.auditor.verdicts[HONEST.ss58_address] = "fail"
    rig.take([drawn])
    await settle(rig, AuditPlan(TRUSTED, complete=True), rounds=1)
    rig.auditor.verdicts[HONEST.ss58_address] = "pass"
    await settle(rig, AuditPlan(TRUSTED, complete=True))
    assert len(rig.auditor.audited) == 61


async def test_a_miner_that_fails_again_and_again_is_not_audited_without_end(rig: AuditRig) -> None:
    rig.take(many_records(CHEAT, 3, range(60), finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, AuditPlan(TRUSTED, complete=True))
    assert CONFIG.enough_fails <= len(rig.auditor.audited) <= CONFIG.enough_fails + 2


async def test_while_the_epoch_before_is_not_sealed_only_the_floor_is_audited(rig: AuditRig) -> None:
    records = many_records(CHEAT, 3, range(60), finished_at_ms=rig.clock())
    rig.take(records)
    await rig.new_block()
    await settle(rig, AuditPlan(None, complete=False))
    draws = draws_of(records, await rig.chain.head())
    floor = [one for one in sorted(draws, key=lambda one: draws[one]) if draws[one] < CONFIG.audit_rate_floor]
    assert set(floor[: CONFIG.enough_fails]) <= set(rig.auditor.audited) <= set(floor)


async def test_an_epoch_is_not_settled_before_all_is_drawn(rig: AuditRig) -> None:
    assert await rig.audits.settled(1, CLOSING)
    assert not await rig.audits.settled(1, OPEN)


async def test_every_miner_is_filled_up_at_its_own_axon(rig: AuditRig) -> None:
    rig.take(epoch_traffic(0, rig.clock()))
    await rig.new_block()
    await settle(rig, CLOSING)
    assert rig.auditor.axons == {"127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"}
    outcomes = [(verdict.miner_uid, verdict.outcome) for verdict in rig.requests.verdicts(1)]
    assert outcomes.count((3, "fail")) >= 5
    assert outcomes.count((1, "pass")) >= 5


async def test_inconclusive_audits_are_made_up_for_until_there_are_no_more(rig: AuditRig) -> None:
    rig.auditor.verdicts[HONEST.ss58_address] = "inconclusive"
    rig.take(many_records(HONEST, 1, range(9), finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, CLOSING)
    assert len(rig.auditor.audited) == 9
    assert await rig.audits.settled(1, CLOSING)


async def test_a_fault_of_our_own_is_no_verdict_and_is_tried_again_later(rig: AuditRig) -> None:
    rig.auditor.errors = [ModelError("the reference ran out of memory")]
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, CLOSING)
    assert rig.requests.verdicts(1) == []
    assert not await rig.audits.settled(1, CLOSING)
    rig.clock.now_ms += RETRY_MS
    await settle(rig, CLOSING)
    assert len(rig.requests.verdicts(1)) == 1
    assert await rig.audits.settled(1, CLOSING)


async def test_a_request_that_the_auditor_fails_at_again_and_again_is_inconclusive(rig: AuditRig) -> None:
    rig.auditor.errors = [ModelError("the reference ran out of memory")] * MAX_ATTEMPTS
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    for _ in range(MAX_ATTEMPTS):
        assert rig.requests.verdicts(1) == []
        await settle(rig, CLOSING, rounds=2)
        rig.clock.now_ms += RETRY_MS
    await settle(rig, CLOSING)
    (verdict,) = rig.requests.verdicts(1)
    assert (verdict.outcome, verdict.log_e) == ("inconclusive", 0.0)
    assert "failed at this request 3 times: the reference ran out of memory" in verdict.reason
    assert await rig.audits.settled(1, CLOSING)


async def test_an_outage_of_the_chain_is_waited_out_however_long(rig: AuditRig) -> None:
    rig.auditor.errors.extend([ChainUnavailable("our own network is down")] * 3 * MAX_ATTEMPTS)
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    for _ in range(3 * MAX_ATTEMPTS):
        await settle(rig, CLOSING, rounds=2)
        assert rig.requests.verdicts(1) == []
        rig.clock.now_ms += RETRY_MS
    await settle(rig, CLOSING)
    assert [verdict.outcome for verdict in rig.requests.verdicts(1)] == ["pass"]


async def test_a_defect_of_the_auditor_ends_the_process(rig: AuditRig) -> None:
    rig.auditor.errors = [ZeroDivisionError()]
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    with pytest.raises(ZeroDivisionError):
        await settle(rig, CLOSING)


async def test_departed_miners_are_neither_audited_nor_waited_for(rig: AuditRig) -> None:
    rig.take(epoch_traffic(0, rig.clock()))
    rig.chain.registered = [one for one in rig.chain.registered if one.hotkey != CHEAT.ss58_address]
    await rig.metagraph.refresh()
    await rig.new_block()
    await settle(rig, CLOSING)
    assert {verdict.miner_uid for verdict in rig.requests.verdicts(1)} == {1, 2}
    assert await rig.audits.settled(1, CLOSING)


async def test_a_miner_without_an_axon_is_audited_all_the_same(rig: AuditRig) -> None:
    rig.chain.registered = [
        type(one)(one.uid, one.hotkey, None, one.validator_permit, one.stake_rao, one.last_update)
        for one in rig.chain.registered
    ]
    await rig.metagraph.refresh()
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, CLOSING)
    assert rig.auditor.axons == {""}


async def test_answers_without_a_readable_receipt_are_always_audited(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(12), finished_at_ms=rig.clock(), receipt={"signature": ["odd"]}))
    await rig.new_block()
    await settle(rig, AuditPlan(TRUSTED, complete=False))
    assert len(rig.auditor.audited) == 12
    assert {one.draw for one in rig.requests.drawn(1)} == {0.0}


async def test_records_older_than_the_chain_remembers_are_given_up(rig: AuditRig) -> None:
    rig.chain.height = 10_000
    rig.take(many_records(HONEST, 1, range(3), finished_at_ms=START_MS))
    await settle(rig, CLOSING)
    assert rig.auditor.audited == []
    assert await rig.audits.settled(1, CLOSING)


async def test_no_more_than_a_few_audits_run_at_once_and_few_of_one_miner(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(40), finished_at_ms=rig.clock()))
    await rig.new_block()
    await rig.audits.step({1: CLOSING})
    assert len(rig.audits._running) == CONCURRENT_OF_ONE_MINER
    rig.take(epoch_traffic(1000, rig.clock() - 1))
    await rig.audits.step({1: CLOSING})
    assert len(rig.audits._running) <= CONCURRENT_AUDITS
    await rig.audits.stop()
    assert rig.audits._running == {}


async def test_an_unreachable_chain_is_reported_and_loses_nothing(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    rig.chain.down = True
    with pytest.raises(ChainUnavailable):
        await rig.audits.step({1: CLOSING})
    rig.chain.down = False
    await rig.new_block()
    await settle(rig, CLOSING)
    assert rig.auditor.audited == ["request-000001"]
