import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.canonical import sha256_hex
from shared.errors import MalformedMessage, SignatureMismatch
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import AUDITOR, FOLLOWER, block_number, example_record, example_verdict
from validator.database import Database
from validator.epoch_summary import (
    EpochSummary,
    LatestEpoch,
    check_summary_signature,
    epoch_files,
    file_digests,
    parse_lines,
    parse_message,
    requests_key,
    rounds_key,
    seal,
    verdicts_key,
)
from validator.request_facts import RequestFacts, facts_of
from validator.verdicts import Verdict


async def test_a_sealed_summary_reads_back_and_is_signed(database: Database) -> None:
    rig = AuditRig(database)
    sealed = await rig.run_epoch(epoch_traffic(0, rig.clock()))
    summary = parse_message(EpochSummary, sealed.data, "summary")
    check_summary_signature(summary)
    with pytest.raises(SignatureMismatch):
        check_summary_signature(summary.model_copy(update={"publisher": FOLLOWER.ss58_address}))
    with pytest.raises(SignatureMismatch):
        check_summary_signature(summary.model_copy(update={"signature": None}))


async def test_nobody_seals_in_anothers_name(database: Database) -> None:
    rig = AuditRig(database)
    summary = (await rig.run_epoch([])).summary()
    with pytest.raises(ValueError, match="the summary names"):
        seal(summary, FOLLOWER)
    assert parse_message(EpochSummary, seal(summary, AUDITOR), "summary").epoch == 1


@given(st.permutations(range(6)))
def test_files_are_the_same_bytes_in_whatever_order_they_are_given(order: list[int]) -> None:
    facts = [facts_of(RECORDS[number]) for number in order]
    verdicts = [example_verdict(RECORDS[number], block_number(1)) for number in order]
    assert file_digests(epoch_files(1, facts, verdicts)) == DIGESTS


def test_files_read_back() -> None:
    files = epoch_files(1, FACTS, VERDICTS)
    assert parse_lines(RequestFacts, files[requests_key(1)], "requests") == FACTS
    assert parse_lines(Verdict, files[verdicts_key(1)], "verdicts") == VERDICTS
    lines = {digest.key: digest.lines for digest in DIGESTS}
    assert lines == {requests_key(1): 6, rounds_key(1): 0, verdicts_key(1): 6}
    digest = next(one for one in DIGESTS if one.key == requests_key(1))
    assert digest.sha256 == sha256_hex(files[requests_key(1)])


def test_an_epoch_without_requests_has_empty_files() -> None:
    assert epoch_files(3, [], []) == {requests_key(3): b"", verdicts_key(3): b"", rounds_key(3): b""}


def test_what_is_wrong_is_named_with_its_place() -> None:
    with pytest.raises(MalformedMessage, match=r"pointer is not what it should be: epoch: "):
        parse_message(LatestEpoch, b'{"epoch":0,"digest":"' + b"0" * 64 + b'"}', "pointer")
    lines = epoch_files(1, FACTS, VERDICTS)[verdicts_key(1)] + b"{}\n"
    with pytest.raises(MalformedMessage, match="verdicts line 7"):
        parse_lines(Verdict, lines, "verdicts")


@given(st.binary(max_size=200))
def test_rubbish_is_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_message(EpochSummary, data, "summary")


RECORDS = [example_record(number) for number in range(6)]
FACTS = [facts_of(record) for record in RECORDS]
VERDICTS = [example_verdict(record, block_number(1)) for record in RECORDS]
DIGESTS = file_digests(epoch_files(1, FACTS, VERDICTS))
