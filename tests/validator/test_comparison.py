import random
from collections.abc import Sequence
from math import log
from statistics import fmean, linear_regression

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.records import RequestRecord
from tests.validator.auditor_examples import example_record
from validator import comparison
from validator.comparison import Sample, compare, median, promptness_samples, speed, speed_sample
from validator.request_facts import RequestFacts, facts_of

PROMPT_MS, TOKEN_MS = 0.5, 20.0
"""A simulated machine: so many milliseconds for a token of prompt and of output."""


def facts(record: RequestRecord, **changes: object) -> RequestFacts:
    return facts_of(record.model_copy(update=changes))


def answers(slowness: float, chance: random.Random, count: int, prompts: Sequence[int]) -> list[Sample]:
    """What a machine of this slowness is measured at, with a tenth of noise, over prompts of all lengths."""
    samples = []
    for _ in range(count):
        prompt, output = chance.choice(prompts), chance.choice([16, 60, 200, 700])
        needed = (150 + prompt * PROMPT_MS + output * TOKEN_MS) * slowness * chance.lognormvariate(0, 0.1)
        answer = facts(
            example_record(1, output_tokens=16),
            prompt_tokens=prompt,
            output_tokens=output,
            duration_ms=needed,
        )
        samples.append(speed_sample(answer))
    return samples


def test_the_median_is_the_middle() -> None:
    assert median([]) is None
    assert median([3.0]) == 3.0
    assert median([4.0, 1.0, 2.0]) == 2.0
    assert median([4.0, 1.0, 2.0, 3.0]) == 2.5


def test_speed_is_over_the_whole_answer_and_finite() -> None:
    assert speed(facts_of(example_record(1, output_tokens=40, duration_ms=1000.0))) == 40.0
    assert speed(facts_of(example_record(1, output_tokens=40, duration_ms=0.0))) == 40_000.0


def test_a_shape_is_lengths_choices_and_streaming() -> None:
    record = example_record(1, output_tokens=40)
    shape = speed_sample(facts(record)).shape
    other_shapes = (
        facts(record, prompt_tokens=100),
        facts(record, output_tokens=100),
        facts(record, streamed=False),
        facts(record, choices=record.choices * 2),
    )
    for other in other_shapes:
        assert speed_sample(other)[0] != shape
    assert speed_sample(facts(record, output_tokens=45, duration_ms=7.0))[0] == shape


def test_promptness_is_measured_where_there_was_a_first_token_to_see() -> None:
    taken = promptness_samples([facts(example_record(1)), facts(example_record(2, ttft_ms=None))], 50.0)
    assert [one.value for one in taken] == [1 / 150]


def test_nobody_and_nothing_compares_to_nothing() -> None:
    assert compare({}) == {}
    assert compare({"a": []}) == {}


def test_a_miner_alone_is_the_best() -> None:
    assert compare({"a": [Sample("short", 3.0), Sample("long", 7.0)]}) == {"a": 1.0}


def test_half_the_speed_is_half_the_figure() -> None:
    fast = [Sample("short", 10.0), Sample("long", 40.0), Sample("long", 44.0)]
    slow = [one._replace(value=one.value / 2) for one in fast]
    assert compare({"fast": fast, "slow": slow, "other": fast}) == {"fast": 1.0, "slow": 0.5, "other": 1.0}


def test_a_shape_that_one_miner_alone_has_seen_compares_nothing() -> None:
    fair = {"a": [Sample("short", 10.0)] * 3, "b": [Sample("short", 10.0)] * 3}
    odd = fair | {"b": [*fair["b"], *[Sample("strange", 1000.0)] * 9]}
    assert compare(odd) == compare(fair) == {"a": 1.0, "b": 1.0}


def test_a_miner_with_nothing_comparable_is_compared_by_its_median() -> None:
    taken = compare({"a": [Sample("x", 10.0)], "b": [Sample("x", 10.0)], "c": [Sample("y", 5.0)]})
    assert taken == {"a": 1.0, "b": 1.0, "c": 0.5}


def test_many_answers_give_a_miner_no_larger_voice_in_the_reference() -> None:
    quiet = {"a": [Sample("x", 10.0)], "b": [Sample("x", 20.0)], "c": [Sample("x", 30.0)]}
    loud = quiet | {"c": [Sample("x", 30.0)] * 500}
    assert compare(loud) == compare(quiet)


SPEEDS = {"a": 1.0, "b": 1.5, "c": 2.0, "d": 3.0, "e": 4.0}


def over_many_shapes(chance: random.Random, count: int) -> dict[str, list[Sample]]:
    """So many answers of each of five unequal machines, over two dozen shapes that allow unequal speeds."""
    allowed = [chance.lognormvariate(0, 1) for _ in range(24)]
    return {
        name: [
            Sample(shape, allowed[shape] * speed * chance.lognormvariate(0, 0.1))
            for shape in chance.choices(range(24), k=count)
        ]
        for name, speed in SPEEDS.items()
    }


def mean_slope(count: int) -> float:
    """Of ln figure over ln speed, in twenty epochs: 1 where figures are proportional to speeds."""
    slopes = []
    for seed in range(20):
        figures = compare(over_many_shapes(random.Random(seed), count))
        speeds = [log(SPEEDS[name]) for name in figures]
        slopes.append(linear_regression(speeds, [log(figure) for figure in figures.values()]).slope)
    return fmean(slopes)


@pytest.mark.parametrize("count", [12, 30, 200])
def test_figures_are_proportional_to_speeds_however_few_miners_see_a_shape(count: int) -> None:
    assert mean_slope(count) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize(("count", "found"), [(12, 0.75), (30, 0.9)])
def test_one_turn_of_polish_would_press_speeds_together(
    monkeypatch: pytest.MonkeyPatch, count: int, found: float
) -> None:
    """The control of the test above: references hold the speeds of the few who saw the shape."""
    monkeypatch.setattr(comparison, "POLISH_TURNS", 1)
    assert mean_slope(count) == pytest.approx(found, abs=0.04)


def test_more_turns_change_little(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [over_many_shapes(random.Random(seed), 30) for seed in range(10)]
    polished = [compare(one) for one in samples]
    monkeypatch.setattr(comparison, "POLISH_TURNS", 200)
    for one, figures in zip(samples, polished, strict=True):
        assert compare(one) == pytest.approx(figures, rel=0.02)


def test_machines_that_share_shapes_with_different_neighbours_are_compared_through_them() -> None:
    fast_and_middle = {"fast": [Sample("x", 40.0)], "middle": [Sample("x", 20.0), Sample("y", 2.0)]}
    figures = compare(fast_and_middle | {"slow": [Sample("y", 1.0)]})
    assert figures == pytest.approx({"fast": 1.0, "middle": 0.5, "slow": 0.25}, rel=0.02)


def test_identical_machines_end_within_a_few_per_cent_of_each_other() -> None:
    ratios = []
    for seed in range(60):
        chance = random.Random(seed)
        figures = compare({name: answers(1.0, chance, 30, [20, 200, 2000]) for name in "abcd"})
        ratios.append(min(figures["a"] / figures["b"], figures["b"] / figures["a"]))
    assert sorted(ratios)[30] > 0.96
    assert min(ratios) > 0.88


def test_a_machine_of_half_the_speed_is_told_apart_and_paid_half() -> None:
    for seed in range(20):
        chance = random.Random(seed)
        miners = {name: answers(1.0, chance, 30, [20, 200, 2000]) for name in "abc"}
        figures = compare(miners | {"slow": answers(2.0, chance, 30, [20, 200, 2000])})
        assert 0.42 < figures["slow"] < 0.58


@pytest.mark.parametrize("seed", range(4))
def test_refusing_long_prompts_gains_nothing(seed: int) -> None:
    chance = random.Random(seed)
    miners = {name: answers(1.0, chance, 200, [20, 200, 8000]) for name in "abc"}
    picky = answers(1.0, chance, 200, [20])
    assert compare(miners | {"picky": picky})["picky"] == pytest.approx(1.0, abs=0.06)


def test_without_shapes_refusing_long_prompts_would_gain() -> None:
    """The control of the test above: the advantage is there, and only the shapes take it away."""
    chance = random.Random(1)
    miners = {name: answers(1.0, chance, 200, [20, 200, 8000]) for name in "abc"}
    blind = {
        name: [one._replace(shape=None) for one in own]
        for name, own in (miners | {"picky": answers(1.0, chance, 200, [20])}).items()
    }
    assert compare(blind)["a"] < 0.9


@given(
    st.dictionaries(
        st.sampled_from("abcd"),
        st.lists(
            st.builds(
                Sample,
                st.sampled_from("xyz"),
                st.floats(1e-3, 1e6),
                st.sampled_from([None, "one", "two", "three"]),
            ),
            max_size=12,
        ),
    ),
    st.sampled_from([0.0, 0.025, 0.3, 0.5]),
    st.randoms(use_true_random=False),
)
def test_figures_are_shares_with_one_best_in_any_order(
    samples: dict[str, list[Sample]], share: float, chance: random.Random
) -> None:
    figures = compare(samples, share)
    assert figures.keys() == {hotkey for hotkey, own in samples.items() if own}
    assert all(0 < figure <= 1 for figure in figures.values())
    assert not figures or max(figures.values()) == 1.0
    shuffled = [(hotkey, chance.sample(own, len(own))) for hotkey, own in samples.items()]
    chance.shuffle(shuffled)
    assert compare(dict(shuffled), share) == figures
