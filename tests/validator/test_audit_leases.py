"""Audits divided between auditors that share a database, SQLite or PostgreSQL."""

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Connection
from sqlalchemy.exc import OperationalError

from shared.record_log import Cursor
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import HONEST, block_number, example_verdict, many_records
from validator.audit_leases import LEASE_MS, AuditLeases
from validator.audit_loop import CONCURRENT_AUDITS, CONCURRENT_OF_ONE_MINER
from validator.audit_report import AuditReport
from validator.challenge_schedule import AuditPlan
from validator.database import Database
from validator.epoch_state import EpochState
from validator.request_state import Draw, RequestKey, RequestState

RECORDS = many_records(HONEST, 1, range(6))
KEYS: list[RequestKey] = [(one.request_id, HONEST.ss58_address) for one in RECORDS]
REPORTS = [AuditReport(example_verdict(one, block_number(3))) for one in RECORDS]
CLOSING = AuditPlan({}, complete=True)


class DatabaseTime:
    """The clock of a database that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def __call__(self, connection: Connection) -> int:
        return self.now_ms


@pytest.fixture
def time() -> DatabaseTime:
    return DatabaseTime()


@pytest.fixture
def state(database: Database) -> RequestState:
    EpochState(database).open_next(0, 1000)
    state = RequestState(database)
    state.add_records("log", RECORDS, Cursor(1, 1))
    state.set_draws([Draw(key, block_number(3), 0.1) for key in KEYS])
    return state


@pytest.fixture
def leases(database: Database, state: RequestState, time: DatabaseTime) -> AuditLeases:
    return AuditLeases(database, time)


@pytest.fixture
def other(database_url: str, leases: AuditLeases, time: DatabaseTime) -> Iterator[AuditLeases]:
    """Another auditor's, over connections of its own."""
    opened = Database(database_url)
    yield AuditLeases(opened, time)
    opened.close()


def test_what_one_has_leased_another_does_not_get(leases: AuditLeases, other: AuditLeases) -> None:
    assert leases.take(KEYS[:3]) == dict.fromkeys(KEYS[:3], 1)
    assert other.take(KEYS) == dict.fromkeys(KEYS[3:], 1)
    assert leases.take(KEYS) == {}
    assert leases.taken([1]) == set(KEYS)
    assert leases.taken([2]) == set()


def test_a_verdict_under_a_lost_lease_is_refused(
    state: RequestState, leases: AuditLeases, other: AuditLeases, time: DatabaseTime
) -> None:
    lost = leases.take(KEYS[:1])[KEYS[0]]
    time.now_ms += LEASE_MS
    held = other.take(KEYS[:1])[KEYS[0]]
    assert held == lost + 1
    assert not state.add_report(REPORTS[0], lost, "stopped")
    assert state.verdicts(1) == []
    assert state.add_report(REPORTS[0], held, "other")
    assert state.audits_by(1) == {"other": 1}
    assert not state.add_report(REPORTS[0], lost, "stopped")
    assert len(state.verdicts(1)) == state.count_verdicts(1) == 1


def test_a_leased_request_takes_no_verdict_without_a_lease(state: RequestState, leases: AuditLeases) -> None:
    leases.take(KEYS[:1])
    assert not state.add_report(REPORTS[0])


def test_what_has_a_verdict_is_never_leased_again(
    state: RequestState, leases: AuditLeases, time: DatabaseTime
) -> None:
    token = leases.take(KEYS[:1])[KEYS[0]]
    assert state.add_report(REPORTS[0], token)
    leases.release({KEYS[0]: token})
    time.now_ms += 1000 * LEASE_MS
    assert leases.take(KEYS[:1]) == {}


def test_renewed_leases_stay_and_lost_ones_are_told(
    leases: AuditLeases, other: AuditLeases, time: DatabaseTime
) -> None:
    held = leases.take(KEYS[:2])
    time.now_ms += LEASE_MS - 1
    assert leases.renew({KEYS[0]: 1}) == set()
    time.now_ms += 1
    assert other.take(KEYS[:2]) == {KEYS[1]: 2}
    assert leases.renew(held) == {KEYS[1]}
    assert leases.renew({}) == set()


def test_a_lease_that_is_given_back_is_free_at_once(leases: AuditLeases, other: AuditLeases) -> None:
    leases.release(leases.take(KEYS[:1]))
    assert other.take(KEYS[:1]) == {KEYS[0]: 2}
    leases.release({KEYS[0]: 1})
    assert leases.take(KEYS[:1]) == {}, "of a lease that was lost nothing is given back"


def test_requests_of_a_scored_epoch_are_not_leased(
    database: Database, state: RequestState, leases: AuditLeases
) -> None:
    EpochState(database).save_scored(1, b"{}", [], "nobody earned", ())
    assert leases.take(KEYS) == {}


def test_of_many_that_lease_at_once_each_request_goes_to_one(
    database_url: str, database: Database, state: RequestState
) -> None:
    others = [Database(database_url) for _ in range(4)]
    found: list[dict[RequestKey, int]] = []
    ready = threading.Barrier(len(others))

    def take(one: Database) -> None:
        ready.wait()
        for key in KEYS:
            found.append(AuditLeases(one).take([key]))

    threads = [threading.Thread(target=take, args=(one,)) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for one in found for key in one) == sorted(KEYS)
    for one in others:
        one.close()


async def two_auditors(database: Database) -> tuple[AuditRig, AuditRig]:
    left = AuditRig(database, name="left")
    right = AuditRig(database, left.chain, left.clock, name="right")
    for rig in (left, right):
        await rig.metagraph.refresh()
    left.take(epoch_traffic(0, left.clock()))
    await left.new_block()
    return left, right


async def test_two_auditors_divide_an_epoch_and_audit_nothing_twice(database: Database) -> None:
    left, right = await two_auditors(database)
    for _ in range(20):
        await left.audits.step({1: CLOSING})
        await right.audits.step({1: CLOSING}, draws=False)
        await left.audits.join()
        await right.audits.join()
    audited = left.auditor.audited + right.auditor.audited
    assert len(audited) == len(set(audited)) == len(left.requests.verdicts(1))
    shares = left.requests.audits_by(1)
    assert shares.keys() == {"left", "right"}
    assert min(shares.values()) >= CONCURRENT_OF_ONE_MINER
    assert await left.audits.settled(1, CLOSING)
    assert await right.audits.settled(1, CLOSING)


async def test_an_auditor_that_ends_leaves_its_audits_to_the_others_at_once(database: Database) -> None:
    left, right = await two_auditors(database)
    await left.audits.step({1: CLOSING})
    assert left.leases.taken([1])
    await left.audits.stop()
    assert not left.leases.taken([1])
    for _ in range(20):
        await right.audits.step({1: CLOSING})
        await right.audits.join()
    assert await right.audits.settled(1, CLOSING)
    assert right.requests.audits_by(1).keys() == {"right"}


async def test_an_audit_whose_lease_was_lost_is_abandoned(database: Database) -> None:
    left, _ = await two_auditors(database)
    await left.audits.step({1: CLOSING})
    running = dict(left.audits._held)
    left.leases.release(running)
    assert AuditLeases(database).take(list(running)).keys() == running.keys()
    await left.audits.keep_leases()
    await left.audits.join()
    assert left.requests.verdicts(1) == []


async def test_an_audit_that_the_database_did_not_take_is_made_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, right = await two_auditors(database)
    broken = OperationalError("INSERT", {}, Exception("the server is away"))

    def fails(*_: object) -> bool:
        raise broken

    monkeypatch.setattr(left.requests, "add_report", fails)
    await left.audits.step({1: CLOSING})
    for _ in range(CONCURRENT_AUDITS):
        try:
            await left.audits.join()
        except OperationalError:
            continue
        break
    assert left.audits._held == {}, "no lease is renewed for an audit that is over"
    monkeypatch.undo()
    left.leases.clear()
    for _ in range(20):
        await left.audits.step({1: CLOSING})
        await left.audits.join()
    assert await right.audits.settled(1, CLOSING)
