"""Pay follows what miners do in rounds, within what their other answers say."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from shared.records import RequestRecord
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    block_number,
    example_verdict,
    many_records,
)
from tests.validator.round_examples import CONFIG
from tests.validator.test_round_times import a_round
from validator.full_rounds import WorkDone
from validator.measurement import EpochInputs, RegisteredMiner, measure_miners
from validator.paid_speed import FEWEST_PROMPT, latencies, throughputs
from validator.probe_findings import ProbeFindings, probe_results
from validator.request_facts import facts_of
from validator.round_history import RoundInputs
from validator.scoring import MinerScore, score

MINERS = (HONEST, ALSO_HONEST, CHEAT)
ME, OTHER, THIRD = (one.ss58_address for one in MINERS)
ANSWERED = [
    one
    for place, miner in enumerate(MINERS)
    for one in many_records(miner, place + 1, range(100 * place, 100 * place + 8))
]


def epoch(
    records: Collection[RequestRecord] = ANSWERED, in_round: Collection[RequestRecord] = ()
) -> EpochInputs:
    """All three answered, and one audit of each passed."""
    miners = [RegisteredMiner(uid=uid, hotkey=one.ss58_address) for uid, one in enumerate(MINERS, start=1)]
    verdicts = [example_verdict(one, block_number(1)) for one in ANSWERED[::8]]
    rounds = [a_round(*in_round)] if in_round else []
    requests = [facts_of(one) for one in records]
    return EpochInputs(5, requests, verdicts, miners, (), rounds=RoundInputs(rounds=rounds))


def found(rates: Mapping[str, float], usual: float | None = 1.0) -> ProbeFindings:
    """Findings of an epoch with this work."""
    nothing = probe_results(epoch(), CONFIG).findings
    work = tuple(
        WorkDone(
            hotkey=hotkey,
            rounds=7,
            work_ms=round(rate * 24_000),
            asked_ms=24_000,
            epochs=1,
            rate=rate,
            usual=usual,
        )
        for hotkey, rate in sorted(rates.items())
    )
    return nothing.model_copy(update={"work": work})


def paid(rates: Mapping[str, float], usual: float | None = 1.0) -> Mapping[str, float]:
    return throughputs(measure_miners(epoch(), CONFIG), found(rates, usual), CONFIG)


def scores(probes: ProbeFindings, inputs: EpochInputs | None = None) -> dict[str, MinerScore]:
    return {one.hotkey: one for one in score(inputs or epoch(), CONFIG, probes)}


def test_throughput_is_proportional_to_work() -> None:
    assert paid({ME: 1.2, OTHER: 0.6, THIRD: 0.3}) == pytest.approx({ME: 1.0, OTHER: 0.5, THIRD: 0.25})


def test_who_is_faster_in_rounds_alone_is_paid_for_what_it_usually_does() -> None:
    assert paid({ME: 5.0, OTHER: 1.0, THIRD: 1.0})[OTHER] == pytest.approx(1 / CONFIG.usual_margin)


def test_a_miner_without_other_answers_is_paid_for_its_work() -> None:
    assert paid({ME: 5.0, OTHER: 1.0, THIRD: 1.0}, usual=None)[OTHER] == pytest.approx(0.2)


def test_without_work_of_anybody_all_answers_are_compared() -> None:
    assert paid({}) == {ME: 1.0, OTHER: 1.0, THIRD: 1.0}


def test_who_did_nothing_or_was_never_asked_earns_nothing_and_is_told() -> None:
    got = scores(found({ME: 1.0, OTHER: 0.0}))
    assert (got[ME].score, got[OTHER].score, got[THIRD].score) == (1.0, 0.0, 0.0)
    assert any("it finished no answer in time" in one for one in got[OTHER].reasons)
    assert any("it is paid from the first one on" in one for one in got[THIRD].reasons)


def test_who_is_slower_in_rounds_than_usual_is_told() -> None:
    got = scores(found({ME: 1.0, OTHER: 0.5, THIRD: 0.95}))
    assert any("50 % of what it usually does" in one for one in got[OTHER].reasons)
    assert not any("usually does" in one for one in (*got[ME].reasons, *got[THIRD].reasons))


def prompt_in_rounds(
    ttft_ms: float, count: int, usual_ms: float = 100.0, unanswered: Sequence[RequestRecord] = ()
) -> Mapping[str, float]:
    """Latencies when HONEST's answers in rounds have this time to the first token."""
    mine = [*many_records(HONEST, 1, range(50, 50 + count), ttft_ms=ttft_ms), *unanswered]
    theirs = [*many_records(ALSO_HONEST, 2, range(150, 160)), *many_records(CHEAT, 3, range(250, 260))]
    others = [
        one.model_copy(update={"ttft_ms": usual_ms}) if one.miner_hotkey == ME else one for one in ANSWERED
    ]
    inputs = epoch([*others, *mine, *theirs], [*mine, *theirs])
    asked = {(one.request_id, one.miner_hotkey) for one in [*mine, *theirs]}
    return latencies(measure_miners(inputs, CONFIG), asked, CONFIG)


def test_promptness_is_that_in_rounds() -> None:
    assert prompt_in_rounds(250.0, 8)[ME] == pytest.approx(0.5, rel=0.01)


def test_answers_from_a_cache_make_nobody_prompt() -> None:
    """Outside of rounds its first tokens come at once."""
    assert prompt_in_rounds(100.0, 8, usual_ms=0.0)[ME] == pytest.approx(1.0, rel=0.01)
    assert prompt_in_rounds(250.0, 8, usual_ms=0.0)[ME] == pytest.approx(0.5, rel=0.01)


def test_who_is_prompt_in_rounds_alone_is_bounded_by_all_its_answers() -> None:
    found = prompt_in_rounds(0.0, FEWEST_PROMPT, usual_ms=250.0)
    assert found[ME] == pytest.approx(CONFIG.usual_margin / 2, rel=0.01)


def test_few_answers_in_rounds_leave_promptness_to_all_answers() -> None:
    assert prompt_in_rounds(250.0, FEWEST_PROMPT - 1)[ME] == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("outcome", ["refused", "failed"])
def test_what_is_not_answered_in_rounds_counts_as_a_first_token_that_never_came(outcome: str) -> None:
    """Who is slow with some requests looks no more prompt for not answering them."""
    slow = many_records(HONEST, 1, range(80, 87), ttft_ms=5000.0)
    left_out = many_records(HONEST, 1, range(80, 87), outcome=outcome)
    assert prompt_in_rounds(100.0, 8)[ME] == pytest.approx(1.0, rel=0.01)
    for more in (1, 3, 6, 7):
        served = prompt_in_rounds(100.0, 8, unanswered=slow[:more])[ME]
        assert prompt_in_rounds(100.0, 8, unanswered=left_out[:more])[ME] <= served
    assert prompt_in_rounds(100.0, 5, unanswered=left_out)[ME] == 0.0


def test_what_would_not_have_been_streamed_says_nothing_of_promptness() -> None:
    failed = many_records(HONEST, 1, range(80, 87), outcome="failed")
    whole = [one.model_copy(update={"streamed": False}) for one in failed]
    assert prompt_in_rounds(100.0, 5, unanswered=whole)[ME] == pytest.approx(1.0, rel=0.01)


def test_what_is_not_answered_outside_of_rounds_is_reliabilitys_to_count() -> None:
    failed = many_records(HONEST, 1, range(80, 87), outcome="failed")
    inputs = epoch([*ANSWERED, *failed], many_records(ALSO_HONEST, 2, range(100, 102)))
    asked = {(one.request_id, one.miner_hotkey) for one in ANSWERED}
    assert latencies(measure_miners(inputs, CONFIG), asked, CONFIG)[ME] == pytest.approx(1.0, rel=0.01)


def test_order_changes_no_bit() -> None:
    inputs = epoch()
    backwards = replace(inputs, requests=inputs.requests[::-1], miners=inputs.miners[::-1])
    probes = found({ME: 1.0, OTHER: 0.7, THIRD: 0.3})
    assert score(inputs, CONFIG, probes) == score(backwards, CONFIG, probes)
