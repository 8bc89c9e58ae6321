import json

import pytest

from tests.validator.auditor_examples import HONEST, block_number, example_record, example_verdict
from validator.miner_status import EpochAudits, miner_status
from validator.scoring_config import ScoringConfig
from validator.sequential_test import NEWCOMER
from validator.verdicts import Evidence, Verdict, VerdictOutcome

CONFIG = ScoringConfig()


def audit(number: int, outcome: VerdictOutcome) -> Verdict:
    verdict = example_verdict(example_record(number), block_number(number), outcome)
    evidence = (Evidence(statistic="mean", score=2.5, p_value=0.03),)
    return verdict.model_copy(update={"evidence": evidence})


def test_a_miner_without_audits_stands_where_every_newcomer_stands() -> None:
    status = miner_status(HONEST.ss58_address, NEWCOMER, [], CONFIG)
    assert status["standing"] == NEWCOMER.model_dump()
    assert (status["rejected"], status["audit_rate"], status["epochs"]) == (False, 1.0, [])


def test_every_audit_is_told_with_its_evidence_and_what_it_did() -> None:
    epochs = [
        EpochAudits(3, "published", [audit(1, "pass")]),
        EpochAudits(4, "published", [audit(2, "fail")]),
        EpochAudits(5, "open", [audit(3, "fail"), audit(4, "inconclusive")]),
    ]
    status = json.loads(json.dumps(miner_status(HONEST.ss58_address, NEWCOMER, epochs, CONFIG)))
    assert [(one["epoch"], one["phase"], len(one["audits"])) for one in status["epochs"]] == [
        (3, "published", 1),
        (4, "published", 1),
        (5, "open", 2),
    ]
    told = [one for epoch in status["epochs"] for one in epoch["audits"]]
    by_request = {one["request_id"]: one for one in told}
    told = [by_request[example_record(number).request_id] for number in (1, 2, 3, 4)]
    assert [one["outcome"] for one in told] == ["pass", "fail", "fail", "inconclusive"]
    assert told[0]["evidence"] == [{"statistic": "mean", "score": 2.5, "p_value": 0.03}]
    after = [one["log_evidence_after"] for one in told]
    assert after[:3] == pytest.approx([0.0, 10.88, 18.14], abs=0.01)
    assert after[3] in (after[1], after[2])
    assert all(one["explanation"] for one in told)
    assert status["standing"]["log_evidence"] == after[2]


def test_the_rate_is_that_of_the_newest_epoch() -> None:
    passed = EpochAudits(4, "published", [audit(number, "pass") for number in range(1, 26)])
    trusted = miner_status(HONEST.ss58_address, NEWCOMER, [passed, EpochAudits(5, "open", [])], CONFIG)
    assert trusted["audit_rate"] == pytest.approx(0.55)
    failed = EpochAudits(5, "open", [audit(30, "fail")])
    assert miner_status(HONEST.ss58_address, NEWCOMER, [passed, failed], CONFIG)["audit_rate"] == 1.0


def test_a_rejected_miner_is_told_so() -> None:
    failed = [EpochAudits(4, "published", [audit(1, "fail"), audit(2, "fail"), audit(3, "fail")])]
    status = miner_status(HONEST.ss58_address, NEWCOMER, failed, CONFIG)
    assert status["rejected"]
    assert "rejects the miner" in status["epochs"][0]["audits"][-1]["explanation"]
