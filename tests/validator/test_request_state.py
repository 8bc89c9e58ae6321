import pytest

from shared.canonical import canonical_json
from shared.record_log import Cursor
from tests.validator.auditor_examples import (
    CHEAT,
    HONEST,
    SECRET,
    block_number,
    example_record,
    example_verdict,
    many_records,
)
from validator.audit_report import AuditReport
from validator.database import Database
from validator.epoch_state import EpochState
from validator.request_facts import RequestFacts, facts_of
from validator.request_state import Draw, RequestState

LOG = "/records"


@pytest.fixture
def state(database: Database) -> RequestState:
    EpochState(database).open_next(0, 1000)
    return RequestState(database)


def drawn(state: RequestState, numbers: list[int], draws: list[float]) -> None:
    keys = [(example_record(number).request_id, HONEST.ss58_address) for number in numbers]
    state.set_draws([Draw(k, block_number(3), d) for k, d in zip(keys, draws, strict=True)])


def test_the_cursor_starts_at_the_beginning_and_moves_with_the_records(state: RequestState) -> None:
    assert state.cursor(LOG) == Cursor()
    assert state.add_records(LOG, [example_record(1)], Cursor(1, 500)) == 1
    assert state.cursor(LOG) == Cursor(1, 500)
    assert state.cursor("/another") == Cursor()


def test_reading_the_same_record_twice_stores_it_once(state: RequestState) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 500))
    assert state.add_records(LOG, [example_record(1), example_record(2)], Cursor(1, 900)) == 1
    assert len(state.facts(1)) == 2


def test_of_two_records_of_one_attempt_in_a_batch_the_first_counts(state: RequestState) -> None:
    twice = [example_record(1), example_record(1, output_tokens=1)]
    assert state.add_records(LOG, twice, Cursor(1, 1)) == 1
    assert state.facts(1)[0].output_tokens == 40


def test_attempts_at_two_miners_under_one_request_id_are_two_requests(state: RequestState) -> None:
    state.add_records(LOG, [example_record(1), example_record(1, CHEAT, 3)], Cursor(1, 1))
    assert len(state.facts(1)) == 2


def test_a_failing_batch_moves_no_cursor(state: RequestState, database: Database) -> None:
    EpochState(database).open_next(5, 10)
    with pytest.raises(AttributeError):
        state.add_records(LOG, [example_record(1), None], Cursor(1, 1))  # type: ignore[list-item]
    assert state.cursor(LOG) == Cursor()
    assert state.facts(1) == state.facts(2) == []


def test_records_belong_to_the_epoch_that_is_open(state: RequestState, database: Database) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 1))
    EpochState(database).open_next(5, 10)
    state.add_records(LOG, [example_record(2)], Cursor(1, 2))
    assert [facts.request_id for facts in state.facts(1)] == ["request-000001"]
    assert [facts.request_id for facts in state.facts(2)] == ["request-000002"]


@pytest.mark.parametrize("outcome", ["failed", "refused", "client_left"])
def test_only_answers_wait_for_an_audit(state: RequestState, outcome: str) -> None:
    state.add_records(LOG, [example_record(1, outcome=outcome)], Cursor(1, 1))  # type: ignore[arg-type]
    assert state.undrawn(10) == []
    assert state.count_undrawn(1) == 0
    assert len(state.facts(1)) == 1


def test_an_empty_answer_is_not_audited(state: RequestState) -> None:
    state.add_records(LOG, [example_record(1, output_tokens=0)], Cursor(1, 1))
    assert state.undrawn(10) == []


def test_the_record_comes_back_as_it_was(state: RequestState) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 1))
    assert state.undrawn(10)[0].request_id == "request-000001"
    drawn(state, [1], [0.05])
    assert state.undrawn(10) == []
    found = state.audit_of(("request-000001", HONEST.ss58_address))
    assert found is not None
    assert RequestFacts.model_validate_json(canonical_json(state.facts(1)[0])) == facts_of(found[0])
    assert found[1] == block_number(3)
    assert SECRET in found[0].request_body


def test_drawn_requests_come_with_how_their_audit_ended_smallest_draw_first(state: RequestState) -> None:
    state.add_records(LOG, many_records(HONEST, 1, [1, 2, 3]), Cursor(1, 1))
    drawn(state, [1, 2], [0.5, 0.05])
    assert [one.key[0] for one in state.drawn(1)] == ["request-000002", "request-000001"]
    assert state.add_report(AuditReport(example_verdict(example_record(2), block_number(3), "fail", 13.25)))
    assert [(one.draw, one.outcome, one.log_e) for one in state.drawn(1)] == [
        (0.05, "fail", 13.25),
        (0.5, None, 0.0),
    ]
    assert state.drawn(2) == []


def test_each_challenge_block_of_an_epoch_is_listed_once(state: RequestState) -> None:
    state.add_records(LOG, many_records(HONEST, 1, [1, 2, 3, 4]), Cursor(1, 1))
    keys = [(example_record(number).request_id, HONEST.ss58_address) for number in (1, 2, 3)]
    blocks = [block_number(5), block_number(3), block_number(5)]
    state.set_draws([Draw(key, block, 0.5) for key, block in zip(keys, blocks, strict=True)])
    assert state.challenge_blocks(1) == [block_number(3), block_number(5)]
    assert state.challenge_blocks(2) == []


def test_verdicts_can_be_read_for_one_miner(state: RequestState) -> None:
    records = [example_record(1), example_record(2, CHEAT, 3)]
    state.add_records(LOG, records, Cursor(1, 1))
    for record in records:
        state.add_report(AuditReport(example_verdict(record, block_number(3))))
    assert [one.miner_uid for one in state.verdicts(1)] == [1, 3]
    assert [one.miner_uid for one in state.verdicts(1, CHEAT.ss58_address)] == [3]


def test_only_the_verdicts_that_the_summary_names_stay(state: RequestState, database: Database) -> None:
    state.add_records(LOG, many_records(HONEST, 1, [1, 2]), Cursor(1, 1))
    for number in (1, 2):
        state.add_report(AuditReport(example_verdict(example_record(number), block_number(3))))
    named = {("request-000002", HONEST.ss58_address)}
    EpochState(database).save_scored(1, b"{}", [], "nobody earned", named)
    assert [one.request_id for one in state.verdicts(1)] == ["request-000002"]


def test_the_first_verdict_stays(state: RequestState) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 1))
    assert state.add_report(AuditReport(example_verdict(example_record(1), block_number(3), "fail")))
    assert not state.add_report(AuditReport(example_verdict(example_record(1), block_number(3), "pass")))
    assert [verdict.outcome for verdict in state.verdicts(1)] == ["fail"]


def test_a_verdict_on_nothing_is_not_stored(state: RequestState) -> None:
    assert not state.add_report(AuditReport(example_verdict(example_record(1), block_number(3))))


def test_a_verdict_after_the_epoch_was_scored_is_not_stored(state: RequestState, database: Database) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 1))
    drawn(state, [1], [0.05])
    EpochState(database).save_scored(1, b"{}", [], "nobody earned", ())
    assert not state.add_report(AuditReport(example_verdict(example_record(1), block_number(3))))
    assert state.audit_of(("request-000001", HONEST.ss58_address)) is None


def test_requests_that_were_given_up_are_neither_due_nor_waited_for(state: RequestState) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 1))
    state.give_up([("request-000001", HONEST.ss58_address)])
    assert state.undrawn(10) == []
    assert state.count_undrawn(1) == 0
    assert len(state.facts(1)) == 1


def test_a_published_epoch_is_forgotten_and_others_stay(state: RequestState, database: Database) -> None:
    state.add_records(LOG, [example_record(1)], Cursor(1, 1))
    state.add_report(AuditReport(example_verdict(example_record(1), block_number(3))))
    EpochState(database).open_next(5, 10)
    state.add_records(LOG, [example_record(2)], Cursor(1, 2))
    state.forget(1)
    assert state.facts(1) == []
    assert state.verdicts(1) == []
    assert len(state.facts(2)) == 1
