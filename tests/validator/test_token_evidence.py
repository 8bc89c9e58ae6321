"""The tokens' e-value: at most 1 on average at honest miners, large where an alternative explains more."""

import math
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.honest_noise import MARGIN_EDGES, HonestMargins
from validator.token_evidence import (
    CUTS,
    LARGE_SHARES,
    best_explanation,
    log_ratios,
    missed_by_class,
    token_score,
)
from validator.verdicts import AlternativeFit, TokenCheck

ABOVE = (0.5, 0.4, 0.3, 0.2, 0.1, 0.03, 5e-3, 1e-3, 2e-4, 3e-5, 6e-6, 1e-6, 2e-7, 4e-8)
HONEST = HonestMargins(scale=0.05, exponent=3.0, above=ABOVE, tokens=5000)


def check(margins: list[float], **log_likelihoods: float) -> TokenCheck:
    missed = missed_by_class(margins)
    return TokenCheck(
        checked=len(margins),
        exact=len(margins) - sum(missed),
        missed=missed,
        alternatives=tuple(
            AlternativeFit(name=name, log_likelihood=value) for name, value in log_likelihoods.items()
        ),
    )


def test_no_token_says_nothing() -> None:
    assert token_score(check([], seed=0.0), HONEST) == 1.0


def test_exact_tokens_that_others_would_hardly_draw_speak_for_the_miner() -> None:
    assert token_score(check([0.0] * 60, seed=-40.0, greedy=-90.0), HONEST) < 0.1


def test_a_ratio_is_the_alternatives_probability_over_the_most_that_honesty_allows() -> None:
    found = log_ratios(check([0.0, 0.1, 0.3], colder=-1.5), HONEST)
    assert found["colder"] == pytest.approx(-1.5 - math.log(ABOVE[4]) - math.log(ABOVE[6]))


def test_what_an_alternative_explains_is_evidence_and_is_named() -> None:
    tokens = check([0.0] * 40 + [0.2, 0.3, 0.2, 0.4], colder=-2.0, seed=-60.0)
    assert token_score(tokens, HONEST) > 1e4
    assert best_explanation(tokens, HONEST) == "colder"


def test_misses_that_no_alternative_explains_are_none() -> None:
    assert token_score(check([0.0] * 40 + [0.01, 0.02], colder=-30.0), HONEST) < 1


def test_a_few_exchanged_tokens_among_many_are_seen() -> None:
    tokens = check([0.0] * 20 + [64.0] * 2, colder=-80.0)
    assert token_score(tokens, HONEST) > 1e4
    assert best_explanation(tokens, HONEST).endswith("off by 1 logits or more")


def test_hundreds_of_impossible_tokens_stay_a_number() -> None:
    assert math.isfinite(token_score(check([64.0] * 5000, seed=-4e4), HONEST))


@pytest.mark.parametrize("bound", [2.0, 10.0, 50.0])
def test_an_honest_miners_score_exceeds_x_with_probability_at_most_one_in_x(bound: float) -> None:
    """A miner as noisy as is allowed for, against an alternative that draws any of ten tokens evenly."""
    draw, runs = random.Random(1), 3000
    exceeded = 0
    for _ in range(runs):
        margins = [honest_margin(draw) for _ in range(40)]
        exceeded += token_score(check(margins, even=40 * math.log(0.1)), HONEST) > bound
    assert exceeded <= runs / bound + 3 * math.sqrt(runs / bound)


def honest_margin(draw: random.Random) -> float:
    """Its rival is level with the drawn token, or near it, or far off."""
    edge = draw.choice(MARGIN_EDGES[:6])
    return edge + 1e-4 if draw.random() < ABOVE[MARGIN_EDGES.index(edge)] else 0.0


def test_alternatives_by_margins_alone_are_distributions_over_what_they_tell_apart() -> None:
    """Large misses by class; exact tokens and small misses are one outcome, so counted once."""
    flat = HONEST.model_copy(update={"above": (0.999999,) * len(MARGIN_EDGES)})
    exact = log_ratios(check([0.0]), flat)
    single = [log_ratios(check([edge * 1.01]), flat) for edge in MARGIN_EDGES if edge]
    assert len(exact) == len(CUTS) * len(LARGE_SHARES)
    for name, of_exact in exact.items():
        large = [one[name] for one in single if abs(one[name] - of_exact) > 1e-3]
        assert math.exp(of_exact) + sum(map(math.exp, large)) == pytest.approx(1.0, rel=1e-3)


def test_small_misses_are_no_evidence_for_an_alternative_by_large_ones() -> None:
    small = log_ratios(check([0.0] * 30 + [0.01] * 6), HONEST)
    name = f"with {LARGE_SHARES[0]:.0%} of tokens off by {CUTS[2]:.2g} logits or more"
    assert small[name] == pytest.approx(36 * math.log(1 - LARGE_SHARES[0]))


@given(st.lists(st.floats(0, 100), max_size=50))
def test_every_miss_falls_into_one_class(margins: list[float]) -> None:
    counts = missed_by_class(margins)
    assert sum(counts) == sum(margin > 0 for margin in margins)
    for (low, high), count in zip(pairwise((*MARGIN_EDGES, math.inf)), counts, strict=True):
        assert count == sum(low < margin <= high for margin in margins)
