from collections.abc import Sequence
from dataclasses import replace

import pytest

from shared.chain import Block
from shared.records import RequestRecord
from tests.validator.auditor_examples import (
    BLOCK_MS,
    CHEAT,
    HONEST,
    START_MS,
    block_number,
    example_record,
    example_verdict,
    many_records,
)
from validator.audit_coverage import answer_draw, check_coverage, coverage
from validator.audit_history import MinerHistory
from validator.challenge_selection import record_seed, selection_draw
from validator.epoch_evidence import EpochRefused
from validator.measurement import ChallengeBlock, EpochInputs, RegisteredMiner
from validator.request_facts import facts_of
from validator.scoring_config import ScoringConfig
from validator.sequential_test import Standing
from validator.verdicts import VerdictOutcome

CONFIG = ScoringConfig()
RECORDS = many_records(HONEST, 1, range(60))
TRUSTED = MinerHistory(
    hotkey=HONEST.ss58_address,
    tallies=(),
    test=Standing(log_evidence=0.0, support=0, audits=10**6, passes_in_a_row=10**6),
)


def listed(block: Block) -> ChallengeBlock:
    return ChallengeBlock(number=block.number, hash=block.hash, timestamp_ms=block.timestamp_ms)


def ranked(records: Sequence[RequestRecord], block: Block) -> list[RequestRecord]:
    return sorted(records, key=lambda record: selection_draw(record_seed(record, block)))


def epoch(
    audited: Sequence[RequestRecord],
    records: Sequence[RequestRecord] = RECORDS,
    outcome: VerdictOutcome = "pass",
    history: tuple[MinerHistory, ...] = (TRUSTED,),
) -> EpochInputs:
    """All records end before the only block; HONEST alone is registered."""
    return EpochInputs(
        epoch=5,
        requests=[facts_of(record) for record in records],
        verdicts=[example_verdict(record, block_number(1), outcome) for record in audited],
        miners=[RegisteredMiner(uid=1, hotkey=HONEST.ss58_address)],
        history=history,
        blocks=(listed(block_number(1)),),
    )


def wanted() -> list[RequestRecord]:
    block = block_number(1)
    below = [one for one in RECORDS if selection_draw(record_seed(one, block)) < 0.1001]
    return ranked(RECORDS, block)[: max(5, len(below))]


def refusal(inputs: EpochInputs, outstanding: int = 0) -> str:
    with pytest.raises(EpochRefused) as refused:
        check_coverage(inputs, outstanding, CONFIG)
    assert refused.value.cause == "evidence"
    return str(refused.value)


def test_exactly_the_drawn_answers_cover_an_epoch() -> None:
    found = coverage(epoch(wanted()), CONFIG)
    assert found.missing == found.surplus == ()
    check_coverage(epoch(wanted()), 0, CONFIG)


def test_an_audit_that_was_left_out_is_missing() -> None:
    left_out, *others = wanted()
    assert coverage(epoch(others), CONFIG).missing == (facts_of(left_out).key,)
    assert "1 answers had to be audited and were not" in refusal(epoch(others), outstanding=1)
    assert "0 audits are said to be missing, 1 are" in refusal(epoch(others))


def test_an_audit_that_was_not_drawn_is_surplus() -> None:
    chosen = ranked(RECORDS, block_number(1))[-1]
    assert coverage(epoch([*wanted(), chosen]), CONFIG).surplus == (facts_of(chosen).key,)
    assert "was audited though it was not drawn" in refusal(epoch([*wanted(), chosen]))


def test_audits_said_to_be_missing_that_are_not_are_refused() -> None:
    assert "2 audits are said to be missing, 0 are" in refusal(epoch(wanted()), outstanding=2)


def test_a_failed_audit_makes_the_others_due_until_enough_have_failed() -> None:
    failed = ranked(RECORDS, block_number(1))[: CONFIG.enough_fails]
    check_coverage(epoch(failed, outcome="fail"), 0, CONFIG)
    inputs = epoch(wanted())
    first, *others = sorted(inputs.verdicts, key=lambda one: one.request_id)
    one_failed = replace(inputs, verdicts=[first.model_copy(update={"outcome": "fail"}), *others])
    assert len(coverage(one_failed, CONFIG).missing) == 60 - len(wanted())


def test_a_newcomer_is_audited_whole() -> None:
    assert len(coverage(epoch(wanted(), history=()), CONFIG).missing) == 60 - len(wanted())
    check_coverage(epoch(RECORDS, history=()), 0, CONFIG)


def test_no_more_than_the_most_are_due() -> None:
    records = many_records(HONEST, 1, range(130))
    found = coverage(epoch([], records, history=()), CONFIG)
    assert len(found.missing) == CONFIG.max_audits == 100
    due = ranked(records, block_number(1))
    check_coverage(epoch(due[:100], records, history=()), 0, CONFIG)
    assert "though it was not drawn" in refusal(epoch(due[:101], records, history=()))


def test_departed_hotkeys_are_not_waited_for() -> None:
    gone = many_records(CHEAT, 3, range(100, 120))
    check_coverage(epoch(wanted(), [*RECORDS, *gone]), 0, CONFIG)
    check_coverage(epoch([*wanted(), gone[3]], [*RECORDS, *gone]), 0, CONFIG)


def test_an_answer_after_the_last_block_could_not_be_drawn() -> None:
    late = example_record(200, finished_at_ms=START_MS + 2 * BLOCK_MS)
    assert coverage(epoch(wanted(), [*RECORDS, late]), CONFIG).missing == (facts_of(late).key,)


@pytest.mark.parametrize("outcome", ["failed", "refused", "client_left"])
def test_what_is_no_answer_is_not_drawn(outcome: str) -> None:
    other = example_record(200, outcome=outcome)  # type: ignore[arg-type]
    empty = example_record(201, output_tokens=0)
    check_coverage(epoch(wanted(), [*RECORDS, other, empty]), 0, CONFIG)


def test_every_answer_is_drawn_from_the_first_block_after_it() -> None:
    later = example_record(200, finished_at_ms=START_MS + BLOCK_MS)
    verdicts = [example_verdict(record, block_number(1)) for record in wanted()]
    inputs = replace(
        epoch([], [*RECORDS, later], history=()),
        verdicts=[example_verdict(record, block_number(1)) for record in RECORDS],
        blocks=(listed(block_number(2)), listed(block_number(1))),
    )
    own = example_verdict(later, block_number(2))
    check_coverage(replace(inputs, verdicts=[*inputs.verdicts, own]), 0, CONFIG)
    other = example_verdict(later, block_number(1))
    words = "is not from the first block after its answer"
    assert words in refusal(replace(inputs, verdicts=[*verdicts, other]))


def test_a_verdict_from_an_unlisted_block_is_refused() -> None:
    inputs = epoch(wanted())
    unlisted = [example_verdict(record, block_number(2)) for record in wanted()]
    assert "first block after" in refusal(replace(inputs, verdicts=unlisted))
    assert "first block after" in refusal(replace(inputs, blocks=()))


def test_blocks_that_cannot_follow_each_other_are_refused() -> None:
    same_number = ChallengeBlock(number=1, hash="0x" + "00" * 32, timestamp_ms=START_MS + 3 * BLOCK_MS)
    same_time = ChallengeBlock(number=2, hash="0x" + "00" * 32, timestamp_ms=START_MS + BLOCK_MS)
    for impossible in (same_number, same_time):
        inputs = epoch(wanted())
        assert "listed twice, or is not later" in refusal(
            replace(inputs, blocks=(*inputs.blocks, impossible))
        )


def test_an_answer_without_a_readable_receipt_is_always_drawn() -> None:
    bare = example_record(1, receipt={"signature": "odd"})
    assert answer_draw(facts_of(bare), block_number(1).hash) == 0.0
    usual = example_record(1)
    drawn = selection_draw(record_seed(usual, block_number(1)))
    assert answer_draw(facts_of(usual), block_number(1).hash) == drawn > 0
