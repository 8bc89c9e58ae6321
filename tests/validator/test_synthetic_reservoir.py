import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.inference_paths import CHAT_PATH
from validator.synthetic_prior import MOST_TURNS, prior_shape
from validator.synthetic_reservoir import (
    ENOUGH_SHAPES,
    SMALL_SEED,
    Reservoir,
    among_neighbours,
    another_seed,
    is_round,
)
from validator.synthetic_shapes import Shape, Turn

FINITE = st.floats(-100, 100).map(lambda value: round(value, 3))


def example(chars: int = 10, **values: Any) -> Shape:
    fields = ("model", "messages", *values)
    return Shape(path=CHAT_PATH, fields=fields, values=values, turns=(Turn(role="user", chars=chars),))


def filled(*shapes: Shape, seed: int = 1) -> Reservoir:
    return Reservoir(random.Random(seed), shapes)


def test_with_enough_organic_shapes_only_they_are_drawn() -> None:
    reservoir = filled(*[example(chars=7_777)] * ENOUGH_SHAPES)
    assert {reservoir.draw().turns[0].chars for _ in range(200)} == {7_777}


def test_without_organic_shapes_the_prior_is_drawn_and_with_few_of_them_both() -> None:
    assert all(shape.turns[0].chars != 7_777 for shape in (filled().draw() for _ in range(100)))
    some = filled(*[example(chars=7_777)] * (ENOUGH_SHAPES // 2))
    own = sum(some.draw().turns[0].chars == 7_777 for _ in range(1000))
    assert 400 < own < 600


def test_a_full_reservoir_takes_in_new_shapes_and_keeps_its_size() -> None:
    reservoir = Reservoir(random.Random(2), [example(chars=1)] * 50, capacity=50)
    for _ in range(50):
        reservoir.add(example(chars=2))
    counts = Counter(shape.turns[0].chars for shape in reservoir.shapes)
    assert counts.total() == 50
    assert 8 < counts[1] < 30, "a share of about 1/e stays"


def test_fields_keep_the_company_they_keep() -> None:
    shapes = [example(temperature=0, seed=1), example(top_p=0.5, stream=True)] * ENOUGH_SHAPES
    reservoir = filled(*shapes)
    drawn = {tuple(reservoir.draw().values.items()) for _ in range(100)}
    assert drawn == {(("temperature", 0), ("seed", 1)), (("top_p", 0.5), ("stream", True))}


def test_habits_are_repeated_and_rare_numbers_are_not() -> None:
    common = [example(max_tokens=777)] * ENOUGH_SHAPES
    rare = [example(max_tokens=1000 + 37 * number) for number in range(40)]
    reservoir = filled(*common, *rare)
    drawn = [reservoir.draw().values["max_tokens"] for _ in range(600)]
    assert 0.3 < drawn.count(777) / 600 < 0.6
    others = [value for value in drawn if value != 777]
    told_again = sum(value in {1000 + 37 * number for number in range(40)} for value in others)
    assert told_again / len(others) < 0.2
    assert min(others) >= 777
    assert max(others) <= 1000 + 37 * 39


def test_a_flooded_reservoir_still_blurs_what_one_client_marks_with_a_number() -> None:
    marked = example(max_tokens=1234)
    reservoir = filled(marked, *[example(max_tokens=1000 + 7 * number) for number in range(100)])
    drawn = [reservoir.draw().values["max_tokens"] for _ in range(2000)]
    assert drawn.count(1234) <= 20


@pytest.mark.parametrize(("value", "expected"), [(0, True), (1, True), (0.7, True), (512, True), (100, True)])
def test_numbers_that_people_choose_are_round(value: float, expected: bool) -> None:
    assert is_round(value) is expected
    assert not is_round(value + 0.0137)


@given(FINITE, st.lists(FINITE, max_size=20), st.integers())
def test_a_neighbour_lies_between_known_numbers_and_is_no_finer(
    value: float, others: list[float], seed: int
) -> None:
    drawn = among_neighbours(value, others, random.Random(seed))
    assert isinstance(drawn, float)
    assert min([*others, value]) - 100 <= drawn <= max([*others, value]) + 100
    assert len(str(abs(drawn)).partition(".")[2]) <= max(1, len(str(abs(value)).partition(".")[2]))


def test_whole_numbers_stay_whole_and_keep_their_zeros() -> None:
    chance = random.Random(3)
    drawn = {among_neighbours(150, [100, 300, 420], chance) for _ in range(200)}
    assert all(type(value) is int and value % 10 == 0 and 100 <= value <= 420 for value in drawn)
    assert len(drawn) > 10


@given(st.integers(-(1 << 63), (1 << 63) - 1), st.integers())
def test_large_seeds_are_drawn_anew_in_their_size_and_small_ones_kept(seed: int, source: int) -> None:
    drawn = another_seed(seed, random.Random(source))
    if abs(seed) < SMALL_SEED:
        assert drawn == seed
    else:
        assert (drawn > 0) == (seed > 0)
        assert abs(drawn).bit_length() == abs(seed).bit_length()


def test_a_large_seed_is_not_seen_twice() -> None:
    assert another_seed(123_456_789, random.Random(1)) != 123_456_789


def test_prior_shapes_are_as_published() -> None:
    chance = random.Random(4)
    shapes = [prior_shape(chance) for _ in range(4000)]
    asked = [shape.user_turns for shape in shapes if shape.path == CHAT_PATH]
    assert 1.9 < sum(asked) / len(asked) < 2.1
    assert max(asked) <= MOST_TURNS
    chars = [shape.turns[-1].chars for shape in shapes]
    assert 230 < sum(chars) / len(chars) < 310
    assert {turn.role for shape in shapes for turn in shape.turns} == {"system", "user", "assistant"}


def test_every_prior_shape_could_be_a_requests() -> None:
    chance = random.Random(5)
    for shape in (prior_shape(chance) for _ in range(300)):
        assert set(shape.fields) == {"model", *shape.values} | (
            {"messages"} if shape.path == CHAT_PATH else {"prompt"}
        )
        assert Shape.model_validate_json(shape.model_dump_json()) == shape
