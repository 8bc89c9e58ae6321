import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
from bittensor.sp_core import Keypair
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.canonical import canonical_json
from shared.records import RequestRecord
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    CHEAT,
    HONEST,
    block_number,
    example_record,
    example_verdict,
    many_records,
)
from validator.audit_history import EpochTally, MinerHistory
from validator.challenge_selection import selection_draw
from validator.evidence import PROVEN_LOG_E, STAKE
from validator.measurement import EpochInputs, RegisteredMiner
from validator.request_facts import facts_of
from validator.scoring import MinerScore, score
from validator.scoring_config import ScoringConfig
from validator.sequential_test import WHOLE, Standing
from validator.verdicts import Verdict, VerdictOutcome

CONFIG = ScoringConfig()
LIMIT = CONFIG.reject_log_evidence
PASS: list[VerdictOutcome] = ["pass"]
FAIL: list[VerdictOutcome] = ["fail"]
VOID: list[VerdictOutcome] = ["inconclusive"]
MINERS = {HONEST: 1, ALSO_HONEST: 2, CHEAT: 3}


def verdicts_on(records: Sequence[RequestRecord], outcomes: Sequence[VerdictOutcome]) -> list[Verdict]:
    return [example_verdict(r, block_number(1), o) for r, o in zip(records, outcomes, strict=False)]


def inputs_of(
    records: Sequence[RequestRecord],
    verdicts: Sequence[Verdict],
    miners: Sequence[Keypair] = tuple(MINERS),
    history: Sequence[MinerHistory] = (),
    epoch: int = 20,
) -> EpochInputs:
    registered = [RegisteredMiner(uid=MINERS[miner], hotkey=miner.ss58_address) for miner in miners]
    return EpochInputs(epoch, [facts_of(record) for record in records], verdicts, registered, history)


def of(scores: Sequence[MinerScore], miner: Keypair) -> MinerScore:
    return next(one for one in scores if one.hotkey == miner.ss58_address)


def past(miner: Keypair, passes: int, fails: int, epoch: int = 19, evidence: float = 0.0) -> MinerHistory:
    tally = EpochTally(epoch=epoch, passes=passes, fails=fails, inconclusive=0)
    wealth: dict[str, tuple[float, ...]] = {WHOLE: (math.exp(evidence),)} if evidence else {}
    test = Standing(
        log_evidence=evidence, support=fails, audits=passes + fails, passes_in_a_row=0, wealth=wealth
    )
    return MinerHistory(hotkey=miner.ss58_address, tallies=(tally,), test=test)


def alone(outcomes: Sequence[VerdictOutcome], history: Sequence[MinerHistory] = ()) -> MinerScore:
    records = many_records(HONEST, 1, range(len(outcomes)))
    return of(score(inputs_of(records, verdicts_on(records, outcomes), [HONEST], history), CONFIG), HONEST)


def test_the_best_honest_miner_has_the_full_score() -> None:
    assert alone(["pass"] * 5).score == 1.0


def test_a_miner_that_fails_every_audit_has_exactly_nothing_however_fast() -> None:
    honest = many_records(HONEST, 1, range(10))
    fast = many_records(CHEAT, 3, range(10, 20), duration_ms=10.0, ttft_ms=1.0)
    verdicts = verdicts_on(honest, ["pass"] * 5) + verdicts_on(fast, ["fail"] * 5)
    scores = score(inputs_of(honest + fast, verdicts, [HONEST, CHEAT]), CONFIG)
    assert of(scores, CHEAT).score == 0.0
    assert "the sequential test rejects this hotkey" in of(scores, CHEAT).reasons[0]
    assert of(scores, HONEST).score == 1.0, "a gated miner must not set the pace"


def test_a_newcomer_whose_only_audit_failed_earns_nothing_yet() -> None:
    only = alone(["fail"])
    assert only.score == 0.0
    assert only.reasons == ("no audit has passed yet (1 failed, 0 inconclusive)",)


def test_one_bad_audit_of_five_rejects_nobody() -> None:
    once = alone(["fail", "pass", "pass", "pass", "pass"])
    assert once.verification == 6 / 7
    assert once.score > 0.9
    assert 0 < once.log_evidence < LIMIT


def test_the_only_audit_of_an_epoch_failing_costs_a_miner_with_a_past_no_more_than_its_share() -> None:
    once = alone(["fail"], [past(HONEST, 60, 0)])
    assert once.verification == 62 / 63
    assert once.score > 0.9


def test_two_proven_failures_reject() -> None:
    twice = alone(["fail", "fail", *PASS * 3])
    assert twice.score == 0.0
    assert "the sequential test rejects this hotkey" in twice.reasons[0]
    assert "2 audits support it" in twice.reasons[0]


def test_all_audits_failing_slightly_earns_nothing_before_the_test_rejects() -> None:
    records = many_records(HONEST, 1, range(2))
    verdicts = [example_verdict(record, block_number(1), "fail", 1.0) for record in records]
    inputs = inputs_of(records, verdicts, [HONEST], [past(HONEST, 60, 0)])
    failed = of(score(inputs, CONFIG), HONEST)
    assert failed.score == 0.0
    assert failed.reasons == ("all 2 decided audits failed in this epoch",)


def test_who_cheats_early_in_an_epoch_and_passes_late_is_not_paid() -> None:
    records = many_records(HONEST, 1, range(60))
    early = [example_verdict(record, block_number(1), "fail") for record in records[:8]]
    late = [example_verdict(record, block_number(2), "pass", math.log(1 - STAKE)) for record in records[8:]]
    scored = of(score(inputs_of(records, early + late, [HONEST]), CONFIG), HONEST)
    assert scored.score == 0.0
    assert "the sequential test rejects this hotkey" in scored.reasons[0]


def test_a_rejection_stands_for_the_epoch_though_passes_follow_it() -> None:
    records = many_records(HONEST, 1, range(60))
    by_draw = sorted(
        (example_verdict(record, block_number(1)) for record in records),
        key=lambda one: selection_draw(one.challenge_seed),
    )
    failed = [one.model_copy(update={"outcome": "fail", "log_e": PROVEN_LOG_E}) for one in by_draw[:2]]
    passed = [one.model_copy(update={"log_e": -0.5}) for one in by_draw[2:]]
    scored = of(score(inputs_of(records, failed + passed, [HONEST]), CONFIG), HONEST)
    assert scored.log_evidence == 0.0
    assert scored.score == 0.0
    assert "stood at 18.14 in this epoch" in scored.reasons[0]
    assert "it stands at 0.00 now" in scored.reasons[0]


def test_good_history_does_not_shelter_a_defector() -> None:
    defected = alone(["fail"] * 5, [past(HONEST, 1000, 0)])
    assert defected.score == 0.0


def test_a_rejection_is_not_shed_by_one_clean_epoch() -> None:
    cleaned = alone(["pass"] * 5, [past(HONEST, 0, 5, evidence=LIMIT + 5)])
    assert cleaned.score == 0.0
    assert "the sequential test rejects this hotkey" in cleaned.reasons[0]


def test_a_reformed_miner_earns_in_the_epoch_after_the_test_has_released_it() -> None:
    released = past(HONEST, 60, 5, evidence=LIMIT - 0.1)
    assert alone(["pass"] * 5, [released]).score > 0.9


def test_slight_evidence_is_no_obstacle_and_is_told() -> None:
    suspected = alone(["pass"] * 5, [past(HONEST, 60, 0, evidence=7.0)])
    assert suspected.score == 1.0
    assert "the sequential test stands at 6.00; it rejects from 14.51" in suspected.reasons


def test_bad_audits_expire_from_the_pass_rate() -> None:
    assert alone(["pass"] * 5, [past(HONEST, 0, 5, epoch=7)]).verification == 1.0
    assert alone(["pass"] * 5, [past(HONEST, 0, 5, epoch=8)]).verification == 7 / 12


def test_history_of_another_hotkey_counts_for_nothing() -> None:
    assert alone(["pass"] * 5, [past(CHEAT, 0, 50)]).score == 1.0


def test_inconclusive_audits_count_for_neither_side() -> None:
    assert alone(PASS * 3 + VOID * 9).verification == 1.0


def test_nobody_begins_on_inconclusive_audits() -> None:
    hidden = alone(["inconclusive"] * 9)
    assert hidden.score == 0.0
    assert "no audit has passed yet (0 failed, 9 inconclusive)" in hidden.reasons


def test_an_epoch_without_a_decided_audit_costs_a_miner_with_a_past_nothing() -> None:
    assert alone(["inconclusive"] * 3, [past(HONEST, 60, 0)]).score == 1.0
    records = many_records(HONEST, 1, range(3))
    assert of(score(inputs_of(records, [], [HONEST], [past(HONEST, 60, 0)]), CONFIG), HONEST).score == 1.0


def test_nobody_lives_on_undecided_audits_longer_than_the_window() -> None:
    assert alone(["inconclusive"] * 3, [past(HONEST, 60, 0, epoch=7)]).score == 0.0


def test_an_unaudited_newcomer_earns_nothing() -> None:
    records = many_records(HONEST, 1, range(5))
    assert of(score(inputs_of(records, [], [HONEST]), CONFIG), HONEST).score == 0.0


def test_miner_without_requests_is_listed_with_its_reason() -> None:
    idle = score(inputs_of([], [], [HONEST]), CONFIG)
    assert idle[0].score == 0.0
    assert "no request reached this miner" in idle[0].reasons[0]


def test_miner_that_only_failed_is_told_so() -> None:
    records = many_records(HONEST, 1, range(4), outcome="failed")
    failed = of(score(inputs_of(records, [], [HONEST]), CONFIG), HONEST)
    assert (failed.score, failed.failed) == (0.0, 4)
    assert failed.reasons == ("none of 4 requests was answered, 4 failed",)


def test_departed_hotkey_has_no_uid_and_earns_nothing() -> None:
    records = many_records(HONEST, 1, range(5))
    gone = of(score(inputs_of(records, verdicts_on(records, ["pass"] * 5), []), CONFIG), HONEST)
    assert (gone.uid, gone.score) == (None, 0.0)
    assert gone.reasons == ("the hotkey is no longer registered on the subnet",)


@pytest.mark.parametrize("outcome", ["refused", "client_left"])
def test_what_is_the_clients_doing_costs_the_miner_nothing(outcome: Any) -> None:
    answered = many_records(HONEST, 1, range(5))
    others = many_records(HONEST, 1, range(5, 25), outcome=outcome)
    verdicts = verdicts_on(answered, ["pass"] * 5)
    assert of(score(inputs_of(answered + others, verdicts, [HONEST]), CONFIG), HONEST).score == 1.0


def retries(tried: Sequence[RequestRecord], others: Sequence[RequestRecord]) -> list[RequestRecord]:
    """The other attempts as ones at the same clients' requests, as the gateway records them."""
    return [
        other.model_copy(update={"client_request": one.client_request or one.request_id})
        for one, other in zip(tried, others, strict=True)
    ]


def after_two_refusals(elsewhere: Sequence[RequestRecord]) -> MinerScore:
    """HONEST after six answers and two refusals, requests 6 and 7, given what other miners did."""
    own = many_records(HONEST, 1, range(6)) + many_records(HONEST, 1, range(6, 8), outcome="refused")
    return of(score(inputs_of([*own, *elsewhere], verdicts_on(own, PASS * 5)), CONFIG), HONEST)


REFUSED = many_records(HONEST, 1, range(6, 8), outcome="refused")


def test_refusing_what_another_miner_answers_is_a_failure() -> None:
    answers = retries(REFUSED, many_records(ALSO_HONEST, 2, range(16, 18)))
    picky = after_two_refusals(answers)
    assert (picky.failed, picky.reliability) == (2, 0.8)
    assert "2 of 8 requests failed, or were refused and answered by another" in picky.reasons


@pytest.mark.parametrize("outcome", ["refused", "failed", "client_left"])
def test_refusing_what_nobody_answers_is_the_clients_fault(outcome: Any) -> None:
    unanswered = many_records(CHEAT, 3, range(16, 18), outcome=outcome)
    right = after_two_refusals(retries(REFUSED, unanswered))
    assert (right.failed, right.reliability) == (0, 1.0)


def test_answers_to_other_requests_do_not_make_a_refusal_a_failure() -> None:
    right = after_two_refusals(many_records(ALSO_HONEST, 2, range(16, 18)))
    assert (right.failed, right.reliability) == (0, 1.0)


def test_a_refusal_is_a_failure_whichever_attempt_came_first() -> None:
    first = many_records(CHEAT, 3, range(26, 28), outcome="failed")
    refused = retries(first, REFUSED)
    answers = retries(first, many_records(ALSO_HONEST, 2, range(16, 18)))
    own = many_records(HONEST, 1, range(6))
    inputs = inputs_of([*own, *first, *refused, *answers], verdicts_on(own, PASS * 5))
    assert of(score(inputs, CONFIG), HONEST).failed == 2


def test_of_older_logs_attempts_with_one_id_are_at_one_request() -> None:
    picky = after_two_refusals(many_records(ALSO_HONEST, 2, range(6, 8)))
    assert (picky.failed, picky.reliability) == (2, 0.8)


def test_failed_requests_cost_a_share_of_everything() -> None:
    answered, failed = (
        many_records(HONEST, 1, range(6)),
        many_records(HONEST, 1, range(6, 8), outcome="failed"),
    )
    verdicts = verdicts_on(answered, ["pass"] * 5)
    scored = of(score(inputs_of(answered + failed, verdicts, [HONEST]), CONFIG), HONEST)
    assert scored.reliability == 0.8
    assert scored.score == pytest.approx(0.8)
    assert "2 of 8 requests failed, or were refused and answered by another" in scored.reasons


def test_speed_is_a_factor_and_the_others_are_shares_of_what_it_earns() -> None:
    best = many_records(HONEST, 1, range(5), duration_ms=1000.0, ttft_ms=50.0)
    slow = many_records(ALSO_HONEST, 2, range(5, 10), duration_ms=2000.0, ttft_ms=150.0)
    verdicts = verdicts_on(best, ["pass"] * 5) + verdicts_on(slow, ["pass"] * 5)
    scored = of(score(inputs_of(best + slow, verdicts, [HONEST, ALSO_HONEST]), CONFIG), ALSO_HONEST)
    assert (scored.throughput, scored.verification) == (0.5, 1.0)
    assert scored.latency == pytest.approx(0.5)
    assert scored.score == pytest.approx(0.5 * (0.4 + 0.2 * 0.5 + 0.4))


def test_a_machine_split_into_two_uids_earns_no_more_than_whole() -> None:
    prompt: dict[str, Any] = {"ttft_ms": 50.0}
    other = many_records(HONEST, 1, range(8), duration_ms=1000.0, **prompt)
    whole = many_records(ALSO_HONEST, 2, range(20, 28), duration_ms=1000.0, **prompt)
    halves = [
        *many_records(ALSO_HONEST, 2, range(20, 28), duration_ms=2000.0, **prompt),
        *many_records(CHEAT, 3, range(30, 38), duration_ms=2000.0, **prompt),
    ]

    def share(own: list[RequestRecord]) -> float:
        records = other + own
        scores = score(inputs_of(records, verdicts_on(records, PASS * len(records))), CONFIG)
        return 1 - of(scores, HONEST).score / sum(one.score for one in scores)

    assert share(halves) == pytest.approx(share(whole)) == pytest.approx(0.5)


def test_a_slow_tail_of_long_prompts_does_not_count_against_who_serves_it() -> None:
    def answered(miner: Keypair, uid: int, first: int, long: int) -> list[RequestRecord]:
        short = many_records(miner, uid, range(first, first + 10))
        tail = many_records(miner, uid, range(first + 10, first + 10 + long), duration_ms=9000.0)
        return [*short, *(one.model_copy(update={"prompt_tokens": 9000}) for one in tail)]

    records = answered(HONEST, 1, 0, 20) + answered(ALSO_HONEST, 2, 100, 20) + answered(CHEAT, 3, 200, 0)
    scores = score(inputs_of(records, verdicts_on(records, PASS * len(records))), CONFIG)
    assert {one.throughput for one in scores} == {1.0}


def test_one_stalled_answer_of_many_does_not_move_the_median() -> None:
    steady = many_records(HONEST, 1, range(8))
    stalled = [example_record(9, duration_ms=600_000.0, ttft_ms=500_000.0)]
    scored = score(inputs_of(steady + stalled, verdicts_on(steady, ["pass"] * 5), [HONEST]), CONFIG)
    assert of(scored, HONEST).tokens_per_s == 40.0
    assert of(scored, HONEST).ttft_ms == 100.0


def steer(records: Sequence[RequestRecord], steered: bool) -> list[RequestRecord]:
    return [record.model_copy(update={"steered": steered}) for record in records]


def test_answers_that_a_client_steered_to_a_miner_do_not_decide_its_speed() -> None:
    free = many_records(HONEST, 1, range(5))
    for steered, tokens_per_s in ((True, 40.0), (False, 160.0)):
        flood = steer(many_records(HONEST, 1, range(5, 25), duration_ms=250.0), steered)
        scored = score(inputs_of(free + flood, verdicts_on(free, ["pass"] * 5), [HONEST]), CONFIG)
        assert of(scored, HONEST).tokens_per_s == tokens_per_s


def test_a_miner_with_steered_answers_alone_is_measured_by_them() -> None:
    records = steer(many_records(HONEST, 1, range(5)), True)
    scored = score(inputs_of(records, verdicts_on(records, ["pass"] * 5), [HONEST]), CONFIG)
    assert of(scored, HONEST).tokens_per_s == 40.0


def test_short_answers_do_not_decide_the_speed_of_a_miner_that_also_gave_long_ones() -> None:
    long = many_records(HONEST, 1, range(5))
    short = many_records(HONEST, 1, range(5, 25), output_tokens=1, duration_ms=500.0)
    scored = score(inputs_of(long + short, verdicts_on(long, ["pass"] * 5), [HONEST]), CONFIG)
    assert of(scored, HONEST).tokens_per_s == 40.0


def test_answers_that_came_whole_have_their_speed_count_as_latency() -> None:
    streamed = many_records(HONEST, 1, range(5))
    whole = many_records(ALSO_HONEST, 2, range(5, 10), ttft_ms=None, duration_ms=2000.0)
    verdicts = verdicts_on(streamed, ["pass"] * 5) + verdicts_on(whole, ["pass"] * 5)
    scored = of(score(inputs_of(streamed + whole, verdicts, [HONEST, ALSO_HONEST]), CONFIG), ALSO_HONEST)
    assert scored.latency == scored.throughput == pytest.approx(0.5)
    assert "no streamed answer to compare in this epoch: latency counts like throughput" in scored.reasons


def test_a_burst_after_a_long_wait_gains_no_throughput() -> None:
    steady = many_records(HONEST, 1, range(5), ttft_ms=25.0)
    burst = many_records(ALSO_HONEST, 2, range(5, 10), ttft_ms=999.0)
    verdicts = verdicts_on(steady, ["pass"] * 5) + verdicts_on(burst, ["pass"] * 5)
    scores = score(inputs_of(steady + burst, verdicts, [HONEST, ALSO_HONEST]), CONFIG)
    assert of(scores, ALSO_HONEST).throughput == 1.0
    assert of(scores, ALSO_HONEST).score < of(scores, HONEST).score


def test_few_audits_are_called_provisional() -> None:
    assert "3 of 5 audits that settle the pass rate: it is provisional" in alone(["pass"] * 3).reasons
    assert not any("provisional" in reason for reason in alone(["pass"] * 5).reasons)


def test_scores_are_listed_by_uid_and_departed_hotkeys_last() -> None:
    records = many_records(CHEAT, 3, range(3))
    listed = score(inputs_of(records, [], [ALSO_HONEST, HONEST]), CONFIG)
    assert [one.uid for one in listed] == [1, 2, None]


OUTCOMES: st.SearchStrategy[Any] = st.sampled_from(["pass", "pass", "pass", "fail", "inconclusive", None])
ROW = st.tuples(
    st.sampled_from(list(MINERS)),
    st.sampled_from(["answered", "answered", "answered", "failed", "refused", "client_left"]),
    st.integers(0, 60),
    st.floats(0, 100_000),
    st.none() | st.floats(0, 10_000),
    OUTCOMES,
)
FAST = settings(max_examples=40, deadline=None)


def epoch_from(rows: Sequence[Any]) -> EpochInputs:
    records, verdicts = [], []
    for number, (miner, outcome, tokens, duration_ms, ttft_ms, verdict) in enumerate(rows):
        record = example_record(number, miner, MINERS[miner], outcome, tokens, duration_ms, ttft_ms)
        records.append(record)
        if verdict is not None and outcome == "answered":
            verdicts.append(example_verdict(record, block_number(1), verdict))
    return inputs_of(records, verdicts)


@FAST
@given(st.lists(ROW, max_size=25), st.randoms(use_true_random=False))
def test_order_changes_no_bit(rows: list[Any], chance: random.Random) -> None:
    inputs = epoch_from(rows)
    requests, verdicts, miners = list(inputs.requests), list(inputs.verdicts), list(inputs.miners)
    for sequence in (requests, verdicts, miners):
        chance.shuffle(sequence)
    shuffled = EpochInputs(inputs.epoch, requests, verdicts, miners, inputs.history)
    one, other = score(inputs, CONFIG), score(shuffled, CONFIG)
    assert [canonical_json(s) for s in one] == [canonical_json(s) for s in other]


@FAST
@given(st.lists(ROW, max_size=25))
def test_scores_are_shares_and_every_zero_has_a_reason(rows: list[Any]) -> None:
    for one in score(epoch_from(rows), CONFIG):
        assert 0 <= one.score <= 1
        assert one.reasons
        assert MinerScore.model_validate_json(canonical_json(one)) == one


@FAST
@given(st.lists(ROW, min_size=1, max_size=25))
def test_turning_an_audit_into_a_failure_never_helps_its_miner(rows: list[Any]) -> None:
    number = next((n for n, row in enumerate(rows) if row[1] == "answered" and row[5] == "pass"), None)
    if number is None:
        return
    miner = rows[number][0]
    worse = [*rows[:number], (*rows[number][:5], "fail"), *rows[number + 1 :]]
    assert (
        of(score(epoch_from(worse), CONFIG), miner).score <= of(score(epoch_from(rows), CONFIG), miner).score
    )


@FAST
@given(st.floats(10, 100_000), st.floats(1, 100))
def test_being_slower_never_helps(duration_ms: float, factor: float) -> None:
    def slow(duration: float) -> float:
        best = many_records(HONEST, 1, range(5), duration_ms=500.0)
        own = many_records(ALSO_HONEST, 2, range(5, 10), duration_ms=duration)
        verdicts = verdicts_on(best, ["pass"] * 5) + verdicts_on(own, ["pass"] * 5)
        return of(score(inputs_of(best + own, verdicts, [HONEST, ALSO_HONEST]), CONFIG), ALSO_HONEST).score

    assert slow(duration_ms * factor) <= slow(duration_ms)


def test_the_same_epoch_has_the_same_bits_as_when_this_was_written() -> None:
    rows = [
        (m, "answered", 7 * n + 9, 333.3 * n + 71.1 * uid, 17.7 * n + uid / 3, "pass")
        for n in range(9)
        for m, uid in MINERS.items()
    ]
    scores = score(epoch_from(rows), CONFIG)
    assert [one.score.hex() for one in scores] == [
        "0x1.0000000000000p+0",
        "0x1.ec822f6274d76p-1",
        "0x1.d4961c4d1f51fp-1",
    ]


ONE_CLIENT = "ab" * 16


def named(records: Sequence[RequestRecord], client: str | None = None) -> list[RequestRecord]:
    """Each record of a client of its own, or all of one."""
    return [one.model_copy(update={"client": client or f"{place:032x}"}) for place, one in enumerate(records)]


def test_answers_to_oneself_make_nobody_faster() -> None:
    own = named(many_records(HONEST, 1, range(20), duration_ms=1000.0))
    rival = named(many_records(ALSO_HONEST, 2, range(20, 40), duration_ms=1000.0))
    flood = many_records(HONEST, 1, range(40, 240), duration_ms=50.0)
    verdicts = verdicts_on(own, ["pass"] * 5) + verdicts_on(rival, ["pass"] * 5)

    def throughput_of_rival(flooding: Sequence[RequestRecord]) -> float | None:
        inputs = inputs_of([*own, *rival, *flooding], verdicts, [HONEST, ALSO_HONEST])
        return of(score(inputs, CONFIG), ALSO_HONEST).throughput

    assert throughput_of_rival([]) == throughput_of_rival(named(flood, ONE_CLIENT)) == 1.0
    fooled = throughput_of_rival(flood)
    assert fooled is not None
    assert fooled < 0.1, "which is what counting every answer alike would make of it"


def test_answers_to_oneself_hide_no_failures() -> None:
    answered = named(many_records(HONEST, 1, range(16)))
    failed = [
        one.model_copy(update={"client": f"f{place:031x}"})
        for place, one in enumerate(many_records(HONEST, 1, range(20, 24), outcome="failed"))
    ]
    flood = named(many_records(HONEST, 1, range(40, 240)), ONE_CLIENT)

    def reliability(records: Sequence[RequestRecord]) -> float | None:
        verdicts = verdicts_on(answered, ["pass"] * 5)
        return of(score(inputs_of(records, verdicts, [HONEST]), CONFIG), HONEST).reliability

    assert reliability([*answered, *failed]) == 18 / 22
    hidden = reliability([*answered, *failed, *flood])
    assert hidden is not None
    assert hidden < 0.83
    nameless = [one.model_copy(update={"client": None}) for one in flood]
    assert reliability([*answered, *failed, *nameless]) == 218 / 222, "without names they would be hidden"


def test_failing_ones_largest_client_costs_in_full() -> None:
    answered = named(many_records(HONEST, 1, range(20)))
    failed = named(many_records(HONEST, 1, range(20, 40), outcome="failed"), ONE_CLIENT)
    scored = of(score(inputs_of([*answered, *failed], verdicts_on(answered, ["pass"] * 5)), CONFIG), HONEST)
    assert scored.reliability == 22 / 42
