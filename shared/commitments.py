"""What a miner commits to for one request: leaves, their order, and the tree over them.

Leaves are ordered by choice, then position, then layer (1 … num_layers), so that the leaf number of any
point follows from the receipt alone.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from shared.committed_positions import committed_positions
from shared.merkle import MerkleTree
from shared.sketch_format import SKETCH_BYTES

_LEAF_HEADER = struct.Struct("<HHII")


@dataclass(frozen=True, order=True)
class Point:
    """A place in a request's computation: choice, position (0-based over prompt and output), layer.

    Layer i is the residual stream after i decoder layers.
    """

    choice: int
    position: int
    layer: int


def leaf_bytes(point: Point, token_id: int, sketch: bytes) -> bytes:
    """The leaf for one point: header (choice, layer, position, token id) and the sketch's 128 bytes.

    Raises:
        ValueError: the sketch has the wrong length or a number does not fit its field.
    """
    if len(sketch) != SKETCH_BYTES:
        raise ValueError(f"a sketch has {SKETCH_BYTES} bytes, got {len(sketch)}")
    try:
        return _LEAF_HEADER.pack(point.choice, point.layer, point.position, token_id) + sketch
    except struct.error as error:
        raise ValueError(f"{point} with token {token_id} has no leaf: {error}") from None


@dataclass(frozen=True)
class ChoiceShape:
    """What decides one choice's committed points: its lengths in tokens."""

    index: int
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int

    def positions(self, request_id: str) -> list[int]:
        """Committed positions of this choice, ascending."""
        return committed_positions(
            request_id, self.index, self.prompt_tokens, self.output_tokens, self.cached_tokens
        )


class CommittedPoints:
    """Every committed point of a request, in leaf order, and its leaf number."""

    def __init__(self, request_id: str, num_layers: int, choices: Sequence[ChoiceShape]) -> None:
        self._num_layers = num_layers
        self._positions = [
            (choice.index, position)
            for choice in sorted(choices, key=lambda shape: shape.index)
            for position in choice.positions(request_id)
        ]
        self._places = {position: place for place, position in enumerate(self._positions)}

    @cached_property
    def points(self) -> list[Point]:
        """All of them; listed only when asked for, which takes as long as hashing the leaves."""
        layers = range(1, self._num_layers + 1)
        return [Point(*position, layer) for position in self._positions for layer in layers]

    def __len__(self) -> int:
        return len(self._positions) * self._num_layers

    def leaf_number(self, point: Point) -> int | None:
        """The leaf number of `point`, or None when it is not committed."""
        place = self._places.get((point.choice, point.position))
        if place is None or not 1 <= point.layer <= self._num_layers:
            return None
        return place * self._num_layers + point.layer - 1


@dataclass(frozen=True)
class Commitment:
    """A miner's side of a commitment, in the form in which it is kept.

    The tree is rebuilt when it is needed (about 1 ms for 1,000 leaves), so that what is kept stays at
    128 bytes a leaf: with one position in 16 and 30 layers, about 240 bytes a token.

    Attributes:
        token_ids: prompt and output ids of each choice, by choice index.
        sketches: the sketches of all committed points in leaf order, 128 bytes each.
    """

    request_id: str
    num_layers: int
    choices: tuple[ChoiceShape, ...]
    token_ids: Mapping[int, Sequence[int]]
    sketches: bytes

    @property
    def size_bytes(self) -> int:
        """Memory held, to the nearest few per cent."""
        return len(self.sketches) + sum(4 * len(ids) for ids in self.token_ids.values())

    def points(self) -> CommittedPoints:
        """The committed points in leaf order."""
        return CommittedPoints(self.request_id, self.num_layers, self.choices)

    def _sketch(self, number: int) -> bytes:
        return self.sketches[number * SKETCH_BYTES : (number + 1) * SKETCH_BYTES]

    def _token_id(self, point: Point) -> int:
        return self.token_ids[point.choice][point.position]

    def tree(self) -> MerkleTree:
        """The Merkle tree over all leaves.

        Raises:
            ValueError: there is not exactly one sketch for each committed point.
        """
        points = self.points().points
        if len(self.sketches) != len(points) * SKETCH_BYTES:
            raise ValueError(
                f"request {self.request_id}: {len(points)} points are committed, "
                f"{len(self.sketches) / SKETCH_BYTES:g} sketches are held"
            )
        return MerkleTree([leaf_bytes(p, self._token_id(p), self._sketch(n)) for n, p in enumerate(points)])

    def open(self, wanted: Sequence[Point]) -> list["Opening | None"]:
        """Openings of `wanted`, in order; None for a point that is not committed."""
        points, tree = self.points(), self.tree()
        openings: list[Opening | None] = []
        for point in wanted:
            number = points.leaf_number(point)
            openings.append(
                None
                if number is None
                else Opening(point, self._token_id(point), self._sketch(number), tuple(tree.path(number)))
            )
        return openings


@dataclass(frozen=True)
class Opening:
    """One committed point laid open: its token id, sketch (128 bytes) and Merkle path."""

    point: Point
    token_id: int
    sketch: bytes
    path: tuple[bytes, ...]
