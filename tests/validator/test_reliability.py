"""A failure costs a miner once: what reliability takes of the score, rounds excuse, and no more."""

import pytest

from shared.records import RequestRecord
from tests.validator.auditor_examples import ALSO_HONEST, HONEST, example_record, many_records
from tests.validator.round_examples import CONFIG
from tests.validator.test_full_rounds import USUAL, WINDOW_MS, Asked, a_full_round
from validator.measurement import EpochInputs, RegisteredMiner
from validator.open_refusals import OpenRefusal
from validator.probe_findings import probe_results
from validator.reliability import Reliability, reliabilities
from validator.request_facts import facts_of
from validator.round_history import RoundInputs

ME = HONEST.ss58_address


def mine(records: list[RequestRecord], refusals: tuple[OpenRefusal, ...] = ()) -> Reliability:
    return reliabilities([facts_of(one) for one in records], refusals, CONFIG)[ME]


def refusal(number: int) -> RequestRecord:
    return example_record(number, HONEST, 1, "refused").model_copy(update={"client_request": "request-asked"})


def test_failures_are_weighed_beside_two_answers_that_nobody_gave() -> None:
    records = [*many_records(HONEST, 1, range(6)), *many_records(HONEST, 1, range(10, 12), outcome="failed")]
    assert mine(records) == Reliability(answered=6, failed=2, late=0, share=8 / 10)


def test_a_refusal_counts_only_if_another_miner_answered() -> None:
    answered = many_records(HONEST, 1, range(6))
    assert mine([*answered, refusal(20)]).share == 1.0
    other = example_record(40, ALSO_HONEST, 2).model_copy(update={"client_request": "request-asked"})
    assert mine([*answered, refusal(20), other]).share == 8 / 9


def test_a_refusal_that_another_miner_answered_an_epoch_later_counts_then() -> None:
    carried = (OpenRefusal(client_request="request-asked", miner_hotkey=ME),)
    other = example_record(40, ALSO_HONEST, 2).model_copy(update={"client_request": "request-asked"})
    assert mine([other], carried) == Reliability(answered=0, failed=1, late=1, share=2 / 3)
    assert ME not in reliabilities([facts_of(many_records(ALSO_HONEST, 2, [1])[0])], carried, CONFIG)


@pytest.mark.parametrize("failed", [0, 1, 4, 12])
def test_no_failure_elsewhere_pays_for_time_without_work_in_rounds(failed: int) -> None:
    """Its round: sixteen answers, and a third of the time lost by a failure."""
    asked = Asked(HONEST, 900).then(1000, "failed", pause_ms=7000)
    while len(asked.records) < 17:
        asked.then(1000)
    elsewhere = [*USUAL, *many_records(HONEST, 1, range(50, 50 + failed), outcome="failed")]
    requests = [facts_of(one) for one in [*elsewhere, *asked.records]]
    miners = [RegisteredMiner(uid=1, hotkey=ME)]
    rounds = RoundInputs(rounds=[a_full_round(asked)])
    found = probe_results(EpochInputs(5, requests, (), miners, (), rounds=rounds), CONFIG).findings
    work = found.work_of(ME)
    assert work is not None
    paid = work.rate * reliabilities(requests, (), CONFIG)[ME].share
    assert paid <= 16_000 / WINDOW_MS * 1.001
    assert paid >= 16_000 / WINDOW_MS * (0.999 if failed < 12 else 0.8), "and it costs no more than once"
