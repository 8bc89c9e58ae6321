import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.honest_noise import MARGIN_EDGES, HonestMargins
from validator.token_evidence import margin_classes, token_score

UNIT = 0.03
ABOVE = (0.025, 0.019, 0.013, 0.005, 0.0004, 0.0002, 0.0001, 0.00005, 0.00002)
HONEST = HonestMargins(unit=UNIT, above=ABOVE, tokens=50_000)


def honest_margin(draw: random.Random) -> float:
    """A margin with exactly the honest distribution: inside its class, anywhere."""
    uniform = draw.random()
    number = sum(uniform < share for share in ABOVE)
    return 0.0 if number == 0 else (MARGIN_EDGES[number - 1] + 0.25) * UNIT


def cheating_margin(draw: random.Random, misses: float, size: float) -> float:
    return draw.expovariate(1 / size) if draw.random() < misses else 0.0


def test_no_token_says_nothing() -> None:
    assert token_score([], HONEST) == 1.0


def test_exact_tokens_speak_for_the_miner() -> None:
    assert token_score([0.0] * 100, HONEST) < 0.5


@pytest.mark.parametrize("bound", [2.0, 10.0, 100.0])
def test_an_honest_ratio_exceeds_x_with_probability_at_most_one_in_x(bound: float) -> None:
    """Markov's inequality; three deviations of the count are allowed for."""
    draw, runs = random.Random(1), 4000
    scores = [token_score([honest_margin(draw) for _ in range(60)], HONEST) for _ in range(runs)]
    expected = runs / bound
    assert sum(score > bound for score in scores) < expected + 3 * math.sqrt(expected)


@pytest.mark.parametrize(("misses", "size", "tokens"), [(0.34, 0.9, 24), (0.5, 2.0, 16), (0.09, 0.15, 300)])
def test_a_cheats_ratio_grows_fast(misses: float, size: float, tokens: int) -> None:
    """About what 4-bit weights, another seed and coarse 8-bit floats show."""
    draw = random.Random(2)
    scores = [
        token_score([cheating_margin(draw, misses, size) for _ in range(tokens)], HONEST) for _ in range(200)
    ]
    assert sorted(scores)[20] > 1e4


def test_one_impossible_token_among_many_is_seen() -> None:
    assert token_score([0.0] * 20 + [64.0] * 2, HONEST) > 1e4


def test_hundreds_of_impossible_tokens_stay_a_number() -> None:
    assert math.isfinite(token_score([64.0] * 5000, HONEST))


@given(st.lists(st.floats(0, 100), max_size=50))
def test_every_margin_falls_into_one_class(margins: list[float]) -> None:
    counts = margin_classes(margins, UNIT)
    assert sum(counts) == len(margins)
    assert counts[0] == sum(margin == 0 for margin in margins)


@given(st.lists(st.floats(0, 100), max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_tokens_does_not_matter(margins: list[float], draw: random.Random) -> None:
    shuffled = list(margins)
    draw.shuffle(shuffled)
    assert token_score(margins, HONEST) == pytest.approx(token_score(shuffled, HONEST), rel=1e-9)
