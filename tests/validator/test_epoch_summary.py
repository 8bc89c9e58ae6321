import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedMessage, SignatureMismatch
from tests.validator.audit_rig import AuditRig, epoch_traffic
from tests.validator.auditor_examples import AUDITOR, FOLLOWER
from validator.database import Database
from validator.epoch_summary import EpochSummary, LatestEpoch, check_summary_signature, parse_message, seal


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


def test_what_is_wrong_is_named_with_its_place() -> None:
    with pytest.raises(MalformedMessage, match=r"pointer is not what it should be: epoch: "):
        parse_message(LatestEpoch, b'{"epoch":0,"digest":"' + b"0" * 64 + b'"}', "pointer")


@given(st.binary(max_size=200))
def test_rubbish_is_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_message(EpochSummary, data, "summary")
