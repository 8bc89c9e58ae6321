"""What one client can say of a miner."""

import random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from validator.client_voices import (
    Voice,
    by_client,
    cautious_middle,
    counted,
    most_weight,
    voices_of,
    weighted_middle,
)
from validator.comparison import Sample, compare
from validator.scoring_config import ScoringConfig

SHARE = ScoringConfig().client_share
COUNTS = st.lists(st.integers(1, 400), min_size=1, max_size=120)
VALUES = st.floats(0.01, 100.0)
SAID = st.lists(st.tuples(st.integers(1, 60), VALUES), min_size=1, max_size=80)


@given(COUNTS, st.sampled_from([0.01, 0.025, 0.1, 0.5]))
def test_no_client_weighs_more_than_its_share_where_there_are_enough(counts: list[int], share: float) -> None:
    most = most_weight(counts, share)
    weights = [min(count, most) for count in counts]
    assert max(weights) == 1 or max(weights) <= share * sum(weights) * (1 + 1e-12)


@given(COUNTS)
def test_no_weight_is_cut_further_than_the_share_asks_for(counts: list[int]) -> None:
    most = most_weight(counts, SHARE)
    more = [min(count, most + 1) for count in counts]
    assert most >= max(counts) or most + 1 > SHARE * sum(more)


def test_few_clients_have_one_voice_each() -> None:
    assert most_weight([500, 3, 1], SHARE) == 1
    assert most_weight([500] * 39, SHARE) == 1
    assert most_weight([500] * 40, SHARE) == 500
    assert most_weight([], SHARE) == 1


@given(st.lists(st.builds(Voice, VALUES, st.integers(1, 9)), min_size=1, max_size=30))
def test_a_weighted_median_is_that_of_each_value_as_often_as_it_weighs(voices: list[Voice]) -> None:
    plain = [voice.value for voice in voices for _ in range(voice.weight)]
    assert weighted_middle(voices) == median(plain)


def test_answers_without_a_client_stand_alone() -> None:
    groups = by_client([("a", 1), (None, 2), ("b", 3), ("a", 4), (None, 5)])
    assert sorted(groups) == [[1, 4], [2], [3], [5]]


def test_a_client_says_its_median() -> None:
    assert voices_of([[1.0, 9.0, 2.0], [5.0]], SHARE) == [Voice(2.0, 1), Voice(5.0, 1)]


@given(SAID, st.randoms(use_true_random=False))
def test_the_order_changes_no_bit(said: list[tuple[int, float]], chance: random.Random) -> None:
    most = most_weight([count for count, _ in said], SHARE)
    flags = [[number % 3 == 0 for number in range(count)] for count, _ in said]
    shuffled, mixed = chance.sample(said, len(said)), chance.sample(flags, len(flags))
    assert cautious_middle(shuffled, most) == cautious_middle(said, most)
    assert counted(mixed, SHARE) == counted(flags, SHARE)


@given(SAID, st.integers(61, 10_000), VALUES)
def test_the_client_who_asks_most_never_makes_a_miner_look_faster(
    said: list[tuple[int, float]], count: int, value: float
) -> None:
    flooded = [*said, (count, value)]
    most = most_weight([one for one, _ in flooded], SHARE)
    others = weighted_middle(Voice(own, min(number, most)) for number, own in said)
    assert cautious_middle(flooded, most) <= others


def test_without_that_rule_it_would() -> None:
    said = [(1, float(number)) for number in range(1, 11)]
    flooded = [*said, (900, 1000.0)]
    assert weighted_middle(Voice(value, 1) for _, value in flooded) == 6.0
    assert cautious_middle(flooded, 1) == weighted_middle(Voice(value, 1) for _, value in said) == 5.5


def test_who_asks_most_can_make_a_miner_look_slower_by_one_voice() -> None:
    said = [(1, float(number)) for number in range(1, 11)]
    assert cautious_middle([*said, (900, 0.1)], 1) == 5.0


def test_failures_of_few_requests_are_counted_as_they_are() -> None:
    assert counted([], SHARE) == 0.0
    assert counted([[True], [False], [False]], SHARE) == 1.0


def test_answers_to_oneself_do_not_make_failures_fewer() -> None:
    clients = [[number % 10 == 0 for number in range(10)] for _ in range(20)]
    fair = counted(clients, SHARE) / 200
    flood = [False] * 800
    assert fair == pytest.approx(0.1)
    assert counted([*clients, flood], SHARE) / 1000 > 0.9 * fair
    assert sum(map(sum, [*clients, flood])) / 1000 == 0.02, "which is what plain counting would make of it"


def machine(name: str, speed: float, chance: random.Random, answers: int = 40) -> list[Sample]:
    return [
        Sample(chance.choice("xyz"), speed * chance.lognormvariate(0, 0.15), f"{name}/{chance.randrange(30)}")
        for _ in range(answers)
    ]


def flood(keys: int, chance: random.Random) -> list[Sample]:
    return [Sample(chance.choice("xyz"), 20.0, f"flooder/{number % keys}") for number in range(120)]


def mean_gain(keys: int) -> float:
    """What a flood that is answered twenty times as fast adds to a miner's figure ÷ a rival's."""
    gains = []
    for seed in range(60):
        chance = random.Random(seed)
        miners = {name: machine(name, 1.0, chance) for name in "abcde"}
        flooded = miners | {"a": miners["a"] + flood(keys, chance)}
        before, after = compare(miners, SHARE), compare(flooded, SHARE)
        gains.append((after["a"] / after["b"]) / (before["a"] / before["b"]) - 1)
    return sum(gains) / len(gains)


def test_a_flood_by_one_client_gains_nothing() -> None:
    assert mean_gain(1) < 0.01


def test_a_flood_by_many_clients_gains() -> None:
    """The limit of the rule: so many keys are so many voices."""
    assert mean_gain(10) > 0.03
    assert mean_gain(40) > 0.5


def test_without_the_rule_one_client_is_enough() -> None:
    chance = random.Random(1)
    miners = {name: machine(name, 1.0, chance) for name in "abcde"}
    named = miners | {"a": miners["a"] + flood(1, chance)}
    nameless = {hotkey: [one._replace(client=None) for one in own] for hotkey, own in named.items()}
    assert compare(nameless, SHARE)["b"] < 0.2
    assert compare(named, SHARE)["b"] > 0.8


def test_one_client_and_the_auditor_make_sensible_figures() -> None:
    """A small network: one client who asks everybody much, and a few requests of the auditor's."""
    for seed in range(20):
        chance = random.Random(seed)
        samples = {
            name: [
                Sample(one.shape, one.value, "the only client" if place < 30 else f"auditor {place}")
                for place, one in enumerate(machine(name, speed, chance, 50))
            ]
            for name, speed in {"fast": 1.0, "half": 0.5}.items()
        }
        assert compare(samples, SHARE)["half"] == pytest.approx(0.5, abs=0.1)


def test_one_client_alone_still_compares_miners() -> None:
    samples = {
        name: [Sample("x", speed, "the only client")] * 5 for name, speed in {"a": 1.0, "b": 0.5}.items()
    }
    assert compare(samples, SHARE) == {"a": 1.0, "b": 0.5}
