"""What a member took, beside what it would have taken alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from bittensor.sp_core import Keypair

from shared.records import RequestRecord
from tests.validator.auditor_examples import ALSO_HONEST, CHEAT, HONEST, example_record, many_records
from tests.validator.round_examples import CONFIG
from validator.probe_rounds import ProbeRound, RoundRequests
from validator.request_facts import RequestFacts, facts_of
from validator.round_times import UNKNOWN, AloneTimes, Times, round_times


def a_round(*asked: RequestRecord, each: int = 1) -> ProbeRound:
    by_miner: dict[str, list[str]] = {}
    for record in asked:
        by_miner.setdefault(record.miner_hotkey, []).append(record.request_id)
    return ProbeRound(
        block=5,
        block_hash="0x05",
        block_at_ms=0,
        full=False,
        requests_each=each,
        miners=tuple(sorted(by_miner)),
        asked=tuple(RoundRequests(hotkey=key, request_ids=tuple(ids)) for key, ids in by_miner.items()),
    )


def usual(miner: Keypair = HONEST, first: int = 0, **fields: Any) -> list[RequestRecord]:
    return many_records(miner, 1, range(first, first + 6), **fields)


BESIDE = usual(ALSO_HONEST, 100, duration_ms=2000.0)


def times(
    *asked: RequestRecord, each: int = 1, others: Sequence[RequestRecord] = (), miner: Keypair = HONEST
) -> Times:
    requests = [facts_of(one) for one in [*(others or [*usual(), *BESIDE]), *asked]]
    return read(requests, a_round(*asked, each=each))[miner.ss58_address]


def read(requests: Sequence[RequestFacts], held: ProbeRound) -> Mapping[str, Times]:
    alone = AloneTimes.outside(requests, [held], CONFIG)
    return round_times(held, {one.key: one for one in requests}, alone, CONFIG)


def test_an_answer_as_fast_as_ever_took_what_it_takes_alone() -> None:
    assert times(example_record(900)) == (1000, 1000)
    assert times(example_record(900)).speed == 1.0


def test_an_answer_at_half_the_speed_took_twice_as_long() -> None:
    assert times(example_record(900, duration_ms=2000.0)).speed == 0.5


def test_twice_as_many_tokens_are_twice_the_work() -> None:
    assert times(example_record(900, output_tokens=80, duration_ms=2000.0)).speed == pytest.approx(
        1.0, rel=0.01
    )


def test_a_miner_is_compared_with_itself_and_not_with_faster_ones() -> None:
    assert times(example_record(900, ALSO_HONEST, 2, duration_ms=2000.0), miner=ALSO_HONEST).speed == 1.0


def test_what_a_round_took_has_no_part_in_what_it_is_measured_by() -> None:
    slow, fast = (times(example_record(900, duration_ms=one)) for one in (90_000.0, 10.0))
    assert slow.alone_ms == fast.alone_ms == 1000


def test_several_at_once_are_work_for_the_sum_and_take_until_the_last() -> None:
    batch = [example_record(900 + n, duration_ms=1500.0) for n in range(3)]
    assert times(*batch, each=3) == (3000, 1500)


@pytest.mark.parametrize("outcome", ["failed", "refused"])
def test_a_failed_request_is_a_speed_of_nothing(outcome: Any) -> None:
    failed = example_record(900, outcome=outcome, duration_ms=700.0)
    assert times(failed) == (0, 700)
    assert times(failed).speed == 0.0
    whole = [example_record(901), example_record(902)]
    assert times(failed, *whole, each=3).speed == 0.0


def test_a_client_that_left_and_a_short_answer_say_nothing() -> None:
    assert times(example_record(900, outcome="client_left")) == UNKNOWN
    assert times(example_record(900, output_tokens=CONFIG.round_min_tokens - 1)) == UNKNOWN
    assert UNKNOWN.speed is None


def test_a_member_without_all_its_requests_says_nothing() -> None:
    assert times(example_record(900), each=3) == UNKNOWN


def test_a_request_that_is_not_in_the_epoch_says_nothing() -> None:
    requests = [facts_of(one) for one in [*usual(), *BESIDE]]
    assert read(requests, a_round(example_record(900))) == {HONEST.ss58_address: UNKNOWN}


def test_a_request_of_another_miner_is_not_taken_for_its_own() -> None:
    stolen = a_round(example_record(900))
    requests = [facts_of(one) for one in [*usual(), *BESIDE, example_record(900, CHEAT, 3)]]
    assert read(requests, stolen) == {HONEST.ss58_address: UNKNOWN}


def test_a_miner_without_other_answers_says_nothing() -> None:
    assert times(example_record(900), others=BESIDE) == UNKNOWN


def test_a_shape_that_nobody_else_has_seen_is_judged_by_coarser_ones() -> None:
    long_prompt = example_record(900).model_copy(update={"prompt_tokens": 9000, "duration_ms": 2000.0})
    assert times(long_prompt) == (1000, 2000)


def test_alone_times_follow_from_shapes_and_miners() -> None:
    answers: list[RequestFacts] = [facts_of(one) for one in [*usual(), *BESIDE]]
    alone = AloneTimes(answers)
    assert alone.of(facts_of(example_record(900))) == pytest.approx(1000)
    assert alone.of(facts_of(example_record(900, ALSO_HONEST))) == pytest.approx(2000)
    assert alone.of(facts_of(example_record(900, CHEAT))) is None
