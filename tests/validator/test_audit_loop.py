import pytest

from shared.errors import ChainUnavailable, ModelError
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import CHEAT, HONEST, START_MS, many_records
from validator.audit_loop import CONCURRENT_AUDITS, RETRY_MS
from validator.challenge_selection import record_seed, selection_draw
from validator.database import Database


async def settle(rig: AuditRig, closing: int | None, rounds: int = 40) -> None:
    for _ in range(rounds):
        await rig.audits.step(closing)
        await rig.audits.join()


@pytest.fixture
async def rig(database: Database) -> AuditRig:
    built = AuditRig(database)
    await built.metagraph.refresh()
    return built


async def test_nothing_is_audited_before_its_challenge_block_exists(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(30), finished_at_ms=rig.clock()))
    await settle(rig, closing=1)
    assert rig.auditor.audited == []
    await rig.new_block()
    await settle(rig, closing=1)
    assert len(rig.auditor.audited) >= 5


async def test_exactly_the_drawn_requests_are_audited(rig: AuditRig) -> None:
    records = many_records(HONEST, 1, range(60), finished_at_ms=rig.clock())
    rig.take(records)
    await rig.new_block()
    await settle(rig, closing=None)
    block = await rig.chain.head()
    draws = {record.request_id: selection_draw(record_seed(record, block)) for record in records}
    below_rate = {request_id for request_id, draw in draws.items() if draw < 0.1}
    assert set(rig.auditor.audited) == below_rate
    await settle(rig, closing=1)
    assert set(rig.auditor.audited) == below_rate | set(sorted(draws, key=lambda one: draws[one])[:5])
    assert len(rig.auditor.audited) == len(set(rig.auditor.audited))


async def test_every_miner_is_filled_up_at_its_own_axon(rig: AuditRig) -> None:
    rig.take(epoch_traffic(0, rig.clock()))
    await rig.new_block()
    await settle(rig, closing=1)
    assert rig.auditor.axons == {"127.0.0.1:9001", "127.0.0.1:9002", "127.0.0.1:9003"}
    outcomes = [(verdict.miner_uid, verdict.outcome) for verdict in rig.requests.verdicts(1)]
    assert outcomes.count((3, "fail")) >= 5
    assert outcomes.count((1, "pass")) >= 5


async def test_inconclusive_audits_are_made_up_for_until_there_are_no_more(rig: AuditRig) -> None:
    rig.auditor.verdicts[HONEST.ss58_address] = "inconclusive"
    rig.take(many_records(HONEST, 1, range(9), finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, closing=1)
    assert len(rig.auditor.audited) == 9
    assert await rig.audits.settled(1)


async def test_a_fault_of_our_own_is_no_verdict_and_is_tried_again_later(rig: AuditRig) -> None:
    rig.auditor.errors = [ModelError("the reference ran out of memory")]
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, closing=1)
    assert rig.requests.verdicts(1) == []
    assert not await rig.audits.settled(1)
    rig.clock.now_ms += RETRY_MS
    await settle(rig, closing=1)
    assert len(rig.requests.verdicts(1)) == 1
    assert await rig.audits.settled(1)


async def test_a_defect_of_the_auditor_ends_the_process(rig: AuditRig) -> None:
    rig.auditor.errors = [ZeroDivisionError()]
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    with pytest.raises(ZeroDivisionError):
        await settle(rig, closing=1)


async def test_departed_miners_are_neither_audited_nor_waited_for(rig: AuditRig) -> None:
    rig.take(epoch_traffic(0, rig.clock()))
    rig.chain.registered = [one for one in rig.chain.registered if one.hotkey != CHEAT.ss58_address]
    await rig.metagraph.refresh()
    await rig.new_block()
    await settle(rig, closing=1)
    assert {verdict.miner_uid for verdict in rig.requests.verdicts(1)} == {1, 2}
    assert await rig.audits.settled(1)


async def test_a_miner_without_an_axon_is_audited_all_the_same(rig: AuditRig) -> None:
    rig.chain.registered = [
        type(one)(one.uid, one.hotkey, None, one.validator_permit, one.stake_rao, one.last_update)
        for one in rig.chain.registered
    ]
    await rig.metagraph.refresh()
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    await rig.new_block()
    await settle(rig, closing=1)
    assert rig.auditor.axons == {""}


async def test_answers_without_a_receipt_are_drawn_like_others(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(3), finished_at_ms=rig.clock(), receipt={"signature": ["odd"]}))
    await rig.new_block()
    await settle(rig, closing=1)
    assert len(rig.auditor.audited) == 3


async def test_records_older_than_the_chain_remembers_are_given_up(rig: AuditRig) -> None:
    rig.chain.height = 10_000
    rig.take(many_records(HONEST, 1, range(3), finished_at_ms=START_MS))
    await settle(rig, closing=1)
    assert rig.auditor.audited == []
    assert await rig.audits.settled(1)


async def test_no_more_than_a_few_audits_run_at_once(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, range(40), finished_at_ms=rig.clock()))
    await rig.new_block()
    await rig.audits.step(closing=1)
    assert len(rig.audits._running) <= CONCURRENT_AUDITS
    await rig.audits.stop()
    assert rig.audits._running == {}


async def test_an_unreachable_chain_is_reported_and_loses_nothing(rig: AuditRig) -> None:
    rig.take(many_records(HONEST, 1, [1], finished_at_ms=rig.clock()))
    rig.chain.down = True
    with pytest.raises(ChainUnavailable):
        await rig.audits.step(closing=1)
    rig.chain.down = False
    await rig.new_block()
    await settle(rig, closing=1)
    assert rig.auditor.audited == ["request-000001"]
