"""What caches do is measured against fresh prompts of the same miner, and claims against what it served."""

import random
from collections.abc import Sequence
from typing import Any

import pytest

from shared.receipts import Receipt
from tests.validator.auditor_examples import (
    ALSO_HONEST,
    HONEST,
    block_number,
    example_record,
    example_verdict,
)
from validator.cache_probe import FEWEST_CLAIMS, FEWEST_SAMPLES, CacheUse, cache_use
from validator.comparison import CONTINUED_TOKENS, compare, is_continuation, promptness_samples
from validator.measurement import EpochInputs, RegisteredMiner
from validator.request_facts import RequestFacts, facts_of
from validator.scoring import score
from validator.scoring_config import ScoringConfig

ME = HONEST.ss58_address


def answer(number: int, known: int | None, ttft_ms: float | None = 100.0, **fields: Any) -> RequestFacts:
    facts = facts_of(example_record(number, ttft_ms=ttft_ms), known)
    return facts.model_copy(update={"prompt_tokens": 400} | fields)


def claiming(facts: RequestFacts, cached: int) -> RequestFacts:
    assert facts.receipt is not None
    choice = facts.receipt.choices[0].model_copy(update={"cached_tokens": cached})
    receipt = Receipt.model_construct(**dict(facts.receipt) | {"choices": (choice,)})
    return facts.model_copy(update={"receipt": receipt})


def traffic(continued_ms: float, count: int = 20, seed: int = 1) -> list[RequestFacts]:
    chance = random.Random(seed)
    fresh = [answer(n, 0, 100 * chance.lognormvariate(0, 0.3)) for n in range(count)]
    return fresh + [
        answer(n, 320, continued_ms * chance.lognormvariate(0, 0.3)) for n in range(count, 2 * count)
    ]


def use(requests: Sequence[RequestFacts], verdicts: Sequence[Any] = ()) -> CacheUse:
    (found,) = cache_use(requests, verdicts, [ME])
    return found


def test_a_cache_that_works_shows() -> None:
    found = use(traffic(30.0))
    assert (found.continuations, found.fresh) == (20, 20)
    assert found.ratio == pytest.approx(0.3, rel=0.3)
    assert found.p_value is not None
    assert found.p_value < 1e-6


def test_serving_without_a_cache_shows_none() -> None:
    """At a level of 1 in 100, no more than chance allows."""
    shown = sum((use(traffic(100.0, seed=seed)).p_value or 0) <= 0.01 for seed in range(300))
    assert shown <= 10


def test_a_cache_that_is_slower_than_none_does_not_show() -> None:
    found = use(traffic(200.0))
    assert found.ratio is not None
    assert found.ratio > 1.5
    assert found.p_value is not None
    assert found.p_value > 0.5


def test_too_few_answers_say_nothing() -> None:
    found = use(traffic(30.0, FEWEST_SAMPLES - 1))
    assert (found.ratio, found.p_value) == (None, None)


def test_continuations_that_failed_their_audit_do_not_count() -> None:
    wrong = [example_verdict(example_record(n), block_number(1), "fail") for n in range(20, 40)]
    assert use(traffic(1.0), wrong).continuations == 0
    right = [example_verdict(example_record(n), block_number(1)) for n in range(20, 40)]
    assert use(traffic(1.0), right).continuations == 20


def test_prompts_are_compared_with_prompts_of_their_length() -> None:
    long = [answer(100 + n, 0, 1000.0, prompt_tokens=9000) for n in range(10)]
    alone = use([*traffic(100.0), *long])
    assert alone.ratio == pytest.approx(1.0, rel=0.3)
    unmatched = [answer(200 + n, 8000, 5.0, prompt_tokens=9000) for n in range(10)]
    assert use([*traffic(100.0), *unmatched]).continuations == 20, "no fresh prompt of their length"


def test_what_is_known_of_nobody_or_of_who_left_is_left_out() -> None:
    unknown = [one.model_copy(update={"known_prefix_tokens": None}) for one in traffic(30.0)]
    assert cache_use(unknown, (), [ME]) == []
    assert cache_use(traffic(30.0), (), [ALSO_HONEST.ss58_address]) == []


def test_half_of_the_prompt_makes_a_continuation() -> None:
    assert is_continuation(answer(1, 200))
    assert not is_continuation(answer(1, 199))
    assert not is_continuation(answer(1, None))
    assert not is_continuation(answer(1, CONTINUED_TOKENS - 1, prompt_tokens=60))


def test_continuations_are_compared_with_continuations() -> None:
    """Who happened to get more of them is no better for it; who serves them without a cache is worse."""

    def promptness(rows: Sequence[RequestFacts]) -> list[Any]:
        return list(promptness_samples(rows, 50.0))

    fresh, cached, uncached = ([answer(n, known, ms) for n in range(6)] for known, ms in
                               ((0, 400.0), (320, 50.0), (320, 400.0)))  # fmt: skip
    lucky = compare({"many": promptness(fresh[:3] + cached * 3), "few": promptness(fresh + cached[:1])})
    assert lucky["many"] == pytest.approx(lucky["few"])
    told = compare({"cache": promptness(fresh[:2] + cached), "none": promptness(fresh[:2] + uncached)})
    assert told["none"] < 0.5 < told["cache"]


def claims(known: int, cached: int, count: int = FEWEST_CLAIMS) -> list[RequestFacts]:
    return [claiming(answer(n, known), cached) for n in range(count)]


def test_claims_beyond_what_was_served_are_counted() -> None:
    found = use([*claims(320, 320), *(claiming(answer(50 + n, 160), 320) for n in range(4)), answer(90, 320)])
    assert (found.claims, found.unexplained) == (FEWEST_CLAIMS + 4, 4)


def test_claims_of_what_was_served_or_less_are_explained() -> None:
    assert use(claims(320, 320)).unexplained == use(claims(320, 16)).unexplained == 0
    assert use(claims(0, 0)).claims == 0


@pytest.mark.parametrize(("known", "cached", "told"), [(0, 320, True), (320, 320, False)])
def test_unexplained_claims_are_told_and_cost_nothing(known: int, cached: int, told: bool) -> None:
    requests = claims(known, cached)
    verdicts = [example_verdict(example_record(n), block_number(1)) for n in range(FEWEST_CLAIMS)]
    inputs = EpochInputs(1, requests, verdicts, [RegisteredMiner(uid=1, hotkey=ME)], ())
    (mine,) = score(inputs, ScoringConfig())
    assert mine.score == 1.0
    assert any("claim more cached tokens" in reason for reason in mine.reasons) is told
