import hashlib
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commitments import ChoiceShape, CommittedPoints, Point
from shared.receipts import ReceiptBody
from tests.shared.keys import MINER
from tests.shared.receipt_examples import example_commitment, receipt_body
from tests.validator.auditor_examples import START_MS, block_number, example_record
from validator.challenge_selection import (
    DEFAULT_POINTS,
    MIN_POINTS,
    challenge_block,
    challenge_seed,
    draw_points,
    draw_replay_point,
    record_seed,
    selection_draw,
)

BLOCK_HASH = "0x" + "ab" * 32
SEEDS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(200)]

shapes = st.builds(
    lambda lengths: tuple(
        ChoiceShape(index, prompt, output, min(cached, prompt - 1))
        for index, (prompt, output, cached) in enumerate(lengths)
    ),
    st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(0, 80)), min_size=1, max_size=4),
)


def receipt(*choices: ChoiceShape, num_layers: int = 3) -> ReceiptBody:
    body = receipt_body(example_commitment(choices=choices), MINER.ss58_address)
    return body.model_copy(update={"num_layers": num_layers})


def committed(body: ReceiptBody) -> set[Point]:
    shapes = [choice.shape() for choice in body.choices]
    return set(CommittedPoints(body.request_id, body.num_layers, shapes).points)


def test_the_challenge_block_is_the_first_one_after_the_answer() -> None:
    blocks = [block_number(number) for number in (3, 1, 2)]
    assert challenge_block(START_MS + 13_000, blocks) == block_number(2)


def test_a_block_of_the_same_millisecond_is_not_after_the_answer() -> None:
    assert challenge_block(block_number(2).timestamp_ms, [block_number(2)]) is None


def test_without_a_later_block_there_is_no_challenge_yet() -> None:
    assert challenge_block(START_MS, []) is None


def test_the_seed_is_what_its_description_says() -> None:
    expected = hashlib.sha256(f"constantinople/challenge-seed/1|{BLOCK_HASH}|0xsig".encode()).hexdigest()
    assert challenge_seed(BLOCK_HASH, "0xsig") == expected
    assert challenge_seed(BLOCK_HASH.upper().replace("0X", "0x"), "0xsig") == expected


def test_the_seed_depends_on_block_and_signature() -> None:
    seeds = {challenge_seed(BLOCK_HASH, "a"), challenge_seed(BLOCK_HASH, "b"), challenge_seed("0x00", "a")}
    assert len(seeds) == 3


@pytest.mark.parametrize("broken", [None, {}, {"signature": 7}, {"signature": None}])
def test_a_record_without_a_readable_signature_has_a_seed_too(broken: dict[str, object] | None) -> None:
    record = example_record(1).model_copy(update={"receipt": broken})
    assert record_seed(record, block_number(3)) == challenge_seed(block_number(3).hash, "")


def test_selection_draws_are_uniform() -> None:
    draws = [selection_draw(seed) for seed in SEEDS]
    assert all(0 <= draw < 1 for draw in draws)
    assert 0.4 < sum(draws) / len(draws) < 0.6


def test_the_selection_draw_can_be_recomputed_from_its_description() -> None:
    digest = hashlib.sha256(f"constantinople/challenge/1|{SEEDS[0]}|select|0".encode()).digest()
    assert selection_draw(SEEDS[0]) == (int.from_bytes(digest, "big") >> 203) / 2**53


@given(shapes=shapes, number=st.integers(0, len(SEEDS) - 1), count=st.integers(MIN_POINTS, 40))
def test_drawn_points_are_different_committed_ones(
    shapes: tuple[ChoiceShape, ...], number: int, count: int
) -> None:
    body = receipt(*shapes)
    points = draw_points(SEEDS[number], body, count)
    assert len(set(points)) == len(points)
    assert set(points) <= committed(body)
    informative = {p for p in committed(body) if p.position > 0 or body.choices[p.choice].prompt_tokens == 1}
    assert len(points) >= min(count, len(informative) // 2)


@given(shapes=shapes, number=st.integers(0, len(SEEDS) - 1))
def test_a_short_draw_begins_a_longer_one(shapes: tuple[ChoiceShape, ...], number: int) -> None:
    body = receipt(*shapes)
    assert draw_points(SEEDS[number], body, 12)[:MIN_POINTS] == draw_points(SEEDS[number], body, MIN_POINTS)


def test_every_draw_meets_the_last_layer_the_prompt_and_the_output() -> None:
    body = receipt(ChoiceShape(0, 60, 60, 0), num_layers=30)
    for seed in SEEDS:
        points = draw_points(seed, body, MIN_POINTS)
        assert any(point.layer == 30 for point in points)
        assert sum(point.layer > 15 for point in points) >= 3
        assert {point.position >= 60 for point in points} == {True, False}


def test_both_parts_meet_every_band_of_layers() -> None:
    body = receipt(ChoiceShape(0, 60, 60, 0), num_layers=30)
    seen = Counter(
        (point.position >= 60, point.layer == 30, point.layer > 15)
        for seed in SEEDS
        for point in draw_points(seed, body, DEFAULT_POINTS)
    )
    for output in (True, False):
        assert seen[output, True, True] > 100
        assert seen[output, False, False] > 100


def test_draws_spread_over_choices() -> None:
    body = receipt(*(ChoiceShape(index, 20, 40, 0) for index in range(4)))
    seen = Counter(point.choice for seed in SEEDS for point in draw_points(seed, body))
    assert min(seen.values()) > 0.7 * max(seen.values())


def test_position_zero_is_drawn_only_when_nothing_else_is_committed() -> None:
    body = receipt(ChoiceShape(0, 5, 1, 0))
    assert any(point.position == 0 for point in committed(body))
    assert all(point.position > 0 for seed in SEEDS for point in draw_points(seed, body))
    alone = receipt(ChoiceShape(0, 1, 1, 0))
    assert {point.position for point in draw_points(SEEDS[0], alone)} == {0}


def test_fewer_than_the_minimum_may_not_be_asked_for() -> None:
    with pytest.raises(ValueError, match="at least 4"):
        draw_points(SEEDS[0], receipt(ChoiceShape(0, 9, 9, 0)), MIN_POINTS - 1)


def test_a_receipt_without_choices_has_nothing_to_draw() -> None:
    empty = receipt(ChoiceShape(0, 9, 9, 0)).model_copy(update={"choices": ()})
    with pytest.raises(ValueError, match="commits to no point"):
        draw_points(SEEDS[0], empty)


def test_other_seeds_draw_other_points() -> None:
    body = receipt(ChoiceShape(0, 60, 60, 0), num_layers=30)
    assert len({tuple(draw_points(seed, body)) for seed in SEEDS}) == len(SEEDS)


def test_replay_points_are_computed_positions_and_half_of_them_opened_ones() -> None:
    body = receipt(ChoiceShape(0, 30, 30, 0), ChoiceShape(1, 30, 10, 0), num_layers=30)
    opened = 0
    for seed in SEEDS:
        point = draw_replay_point(seed, body)
        shape = body.choices[point.choice]
        assert 0 <= point.position < shape.prompt_tokens + shape.output_tokens - 1
        assert 1 <= point.layer <= 30
        opened += point in draw_points(seed, body)
    assert 70 < opened < 130
