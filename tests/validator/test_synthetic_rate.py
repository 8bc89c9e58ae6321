import math
import random
from collections import Counter, deque
from itertools import pairwise

import pytest

from validator.synthetic_rate import needed_rate, next_request

WINDOW_S = 1500.0
TARGET = 12


def simulate(organic_rate: float, windows: int, seed: int) -> tuple[list[int], list[float]]:
    """(answers in each window after the first two, times of synthetic requests) of one miner."""
    chance, now_s, answers, counts = random.Random(seed), 0.0, deque[float](), []
    sent: list[float] = []
    next_organic_s = chance.expovariate(organic_rate) if organic_rate else math.inf
    for window in range(windows):
        while now_s < (window + 1) * WINDOW_S:
            while answers and answers[0] <= now_s - WINDOW_S:
                answers.popleft()
            rates = {"miner": needed_rate(len(answers), TARGET, WINDOW_S)}
            wait_s, miner = next_request(rates, 10.0, chance)
            if now_s + wait_s >= next_organic_s:
                now_s = next_organic_s
                answers.append(now_s)
                next_organic_s += chance.expovariate(organic_rate)
                continue
            now_s += wait_s
            if miner:
                answers.append(now_s)
                sent.append(now_s)
        counts.append(sum(window * WINDOW_S < at_s <= (window + 1) * WINDOW_S for at_s in answers))
    return counts[2:], sent


def test_a_miner_without_clients_gets_its_target_and_nearly_never_less_than_five() -> None:
    counts, _ = simulate(0.0, 2000, seed=1)
    assert 11.5 < sum(counts) / len(counts) < 12.5
    assert sum(count < 5 for count in counts) / len(counts) < 0.004, "0.0008 in theory"


def test_gaps_are_exponential_and_know_nothing_of_epochs() -> None:
    _, sent = simulate(0.0, 2000, seed=2)
    steady = [at_s for at_s in sent if at_s > 10 * WINDOW_S]
    gaps = [after - before for before, after in pairwise(steady)]
    mean = sum(gaps) / len(gaps)
    deviation = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert 0.93 < deviation / mean < 1.1, "1 for exponential gaps"
    tenths = Counter(int(at_s % WINDOW_S / WINDOW_S * 10) for at_s in steady)
    expected = len(steady) / 10
    chi_squared = sum((count - expected) ** 2 / expected for count in tenths.values())
    assert chi_squared < 33, "99.99 % of a chi-squared with nine degrees of freedom"


def test_organic_answers_count() -> None:
    _, alone = simulate(0.0, 300, seed=3)
    _, helped = simulate(8 / WINDOW_S, 300, seed=3)
    assert len(helped) < 0.75 * len(alone)


def test_a_busy_miner_gets_no_synthetic_request() -> None:
    assert needed_rate(2 * TARGET, TARGET, WINDOW_S) == 0
    assert needed_rate(5000, TARGET, WINDOW_S) == 0
    assert next_request({"busy": 0.0}, 3.0, random.Random(1)) == (3.0, None)
    assert next_request({}, 3.0, random.Random(1)) == (3.0, None)


def test_the_rate_falls_smoothly_with_every_answer() -> None:
    rates = [needed_rate(answers, TARGET, WINDOW_S) for answers in range(2 * TARGET + 1)]
    steps = [before - after for before, after in pairwise(rates)]
    assert steps == pytest.approx([1 / WINDOW_S] * (2 * TARGET))


def test_miners_are_asked_in_proportion_to_what_they_need() -> None:
    chance = random.Random(4)
    rates = {"new": 0.3, "known": 0.1, "busy": 0.0}
    asked = Counter(next_request(rates, 1e9, chance)[1] for _ in range(4000))
    assert asked["busy"] == 0
    assert 0.72 < asked["new"] / 4000 < 0.78


def test_drawing_again_after_a_while_does_not_change_the_gaps() -> None:
    chance, gaps = random.Random(5), []
    for _ in range(4000):
        gap_s = 0.0
        while True:
            wait_s, miner = next_request({"one": 0.5}, 0.7, chance)
            gap_s += wait_s
            if miner:
                break
        gaps.append(gap_s)
    assert 1.9 < sum(gaps) / len(gaps) < 2.1
    assert 0.85 < sum(gap > 2 for gap in gaps) / 4000 / math.exp(-1) < 1.15
