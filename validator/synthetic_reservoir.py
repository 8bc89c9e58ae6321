"""Shapes of organic requests, from which those of synthetic ones are drawn."""

import random
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from validator.synthetic_prior import prior_shape
from validator.synthetic_shapes import NUMBERS, Shape

CAPACITY = 1000
"""Shapes kept. A new one replaces one at random when all places are taken, so that a shape stays for 1,000
further ones on average: the reservoir follows a changing clientele (Aggarwal, VLDB 2006)."""

ENOUGH_SHAPES = 30
"""From so many organic shapes on, the published prior is not needed any more."""

COMMON_FROM = 3
COMMON_SHARE = 0.05
"""A number that three requests and 5 % of those with its field have is a habit, and is repeated as it is. A
rarer one could be one client's mark, and would be seen too often if it were drawn twice."""

NEIGHBOURS = 4
"""So many values to either side are the neighbourhood in which a rare number is drawn anew."""

SMALL_SEED = 1 << 16
"""Seeds below this are chosen by people, who choose the same ones; larger ones are drawn anew."""

_ROUND_STEP = 128


class Reservoir:
    """At most CAPACITY shapes; `chance` decides which stay and which are drawn."""

    def __init__(self, chance: random.Random, shapes: Iterable[Shape] = (), capacity: int = CAPACITY) -> None:
        self._chance, self._capacity = chance, capacity
        self._shapes = list(shapes)[:capacity]

    @property
    def shapes(self) -> Sequence[Shape]:
        """All shapes, to be stored."""
        return tuple(self._shapes)

    def add(self, shape: Shape) -> None:
        """Take in the shape of an organic request."""
        if len(self._shapes) < self._capacity:
            self._shapes.append(shape)
        else:
            self._shapes[self._chance.randrange(self._capacity)] = shape

    def draw(self) -> Shape:
        """The shape for a synthetic request: an organic one with its rare numbers blurred, or a prior one."""
        if self._chance.random() * ENOUGH_SHAPES >= len(self._shapes):
            return prior_shape(self._chance)
        shape = self._chance.choice(self._shapes)
        values = {name: self._blurred(name, value) for name, value in shape.values.items()}
        return shape.model_copy(update={"values": values})

    def _blurred(self, name: str, value: Any) -> Any:
        """A number that could be told again is replaced by one in its neighbourhood."""
        if name not in NUMBERS or isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        if name == "seed":
            return another_seed(int(value), self._chance)
        found = [shape.values.get(name) for shape in self._shapes]
        others = [one for one in found if isinstance(one, (int, float))]
        if is_round(value) or others.count(value) >= max(COMMON_FROM, COMMON_SHARE * len(others)):
            return value
        return among_neighbours(value, others, self._chance)


def another_seed(seed: int, chance: random.Random) -> int:
    """A seed of the same size, or the same one if it is small."""
    if abs(seed) < SMALL_SEED:
        return seed
    bits = abs(seed).bit_length()
    drawn = (1 << (bits - 1)) + chance.randrange(1 << (bits - 1))
    return drawn if seed > 0 else -drawn


def is_round(value: float) -> bool:
    """Whether people choose it without thinking: one significant digit, or a multiple of 128."""
    digits = Decimal(str(value)).normalize().as_tuple().digits
    return len(digits) == 1 or (value == int(value) and int(value) % _ROUND_STEP == 0)


def among_neighbours(value: float, others: Iterable[float], chance: random.Random) -> float:
    """A number between the neighbours of `value` among `others`, no finer than `value` itself."""
    known = sorted({*others, value})
    place = bisect_left(known, value)
    low = known[max(place - NEIGHBOURS, 0)]
    high = known[min(place + NEIGHBOURS, len(known) - 1)]
    step = _step(value)
    drawn = chance.randint(round(Decimal(str(low)) / step), round(Decimal(str(high)) / step)) * step
    return int(drawn) if isinstance(value, int) else float(drawn)


def _step(value: float) -> Decimal:
    """The place of the last digit that is not zero: 0.01 for 0.95, 10 for 150."""
    return Decimal(10) ** int(Decimal(str(value)).normalize().as_tuple().exponent)
