import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.commitments import ChoiceShape, Commitment, CommittedPoints, Point, leaf_bytes
from shared.merkle import path_leads_to_root
from shared.sketches import SKETCH_BYTES
from tests.shared.receipt_examples import NUM_LAYERS, example_commitment

TWO_CHOICES = (ChoiceShape(0, 20, 12, 0), ChoiceShape(1, 20, 30, 16))


def leads_to_root(commitment: Commitment, point: Point, sketch: bytes, token_id: int) -> bool:
    (opening,) = commitment.open([point])
    number = commitment.points().leaf_number(point)
    assert opening is not None
    assert number is not None
    leaf = leaf_bytes(point, token_id, sketch)
    return path_leads_to_root(leaf, number, len(commitment.points()), opening.path, commitment.tree().root)


def test_every_committed_point_opens_to_the_root() -> None:
    commitment = example_commitment(choices=TWO_CHOICES)
    for opening in commitment.open(commitment.points().points):
        assert opening is not None
        assert leads_to_root(commitment, opening.point, opening.sketch, opening.token_id)


def test_an_opening_carries_the_token_at_its_position() -> None:
    commitment = example_commitment()
    point = commitment.points().points[-1]
    (opening,) = commitment.open([point])
    assert opening is not None
    assert opening.token_id == 100 + point.position


def test_another_sketch_or_token_does_not_lead_to_the_root() -> None:
    commitment = example_commitment()
    first, second = commitment.points().points[0], commitment.points().points[1]
    one, two = commitment.open([first, second])
    assert one is not None
    assert two is not None
    assert not leads_to_root(commitment, first, two.sketch, one.token_id)
    assert not leads_to_root(commitment, first, one.sketch, one.token_id + 1)


def test_a_point_that_is_not_committed_does_not_open() -> None:
    commitment = example_commitment()
    committed = {point.position for point in commitment.points().points}
    missing = next(p for p in range(31) if p not in committed)
    wanted = [Point(0, missing, 1), Point(0, max(committed), NUM_LAYERS + 1), Point(1, max(committed), 1)]
    assert commitment.open(wanted) == [None, None, None]


def test_leaf_numbers_follow_choice_then_position_then_layer() -> None:
    points = CommittedPoints("request-one", NUM_LAYERS, tuple(reversed(TWO_CHOICES))).points
    assert points == sorted(points)


def test_a_missing_sketch_is_an_error_not_a_shifted_tree() -> None:
    whole = example_commitment()
    cut = Commitment(
        whole.request_id, whole.num_layers, whole.choices, whole.token_ids, whole.sketches[:-SKETCH_BYTES]
    )
    with pytest.raises(ValueError, match="sketches are held"):
        cut.tree()


@given(
    st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
)
def test_different_points_have_different_leaves(choice: int, position: int, layer: int, token: int) -> None:
    sketch = bytes(SKETCH_BYTES)
    leaf = leaf_bytes(Point(choice, position, layer), token, sketch)
    neighbour = Point(choice, position ^ 1, layer)
    assert leaf != leaf_bytes(neighbour, token, sketch)
    assert leaf != leaf_bytes(Point(choice, position, layer), token ^ 1, sketch)


@pytest.mark.parametrize(
    ("point", "token", "sketch"),
    [
        (Point(0, 0, 1), 0, bytes(SKETCH_BYTES - 1)),
        (Point(1 << 16, 0, 1), 0, bytes(SKETCH_BYTES)),
        (Point(0, 0, 1), -1, bytes(SKETCH_BYTES)),
    ],
)
def test_a_leaf_of_impossible_parts_is_refused(point: Point, token: int, sketch: bytes) -> None:
    with pytest.raises(ValueError, match=r"sketch has|has no leaf"):
        leaf_bytes(point, token, sketch)
