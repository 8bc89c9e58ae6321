"""Which rows of a step's flattened batch are wanted. Pure: no tensors, no engine."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class ScheduledRequest:
    """One request's share of a step: tokens at positions computed … computed + scheduled − 1."""

    internal_id: str
    computed: int
    scheduled: int


@dataclass(frozen=True)
class PlannedPosition:
    """A wanted position and the batch row that computes it."""

    internal_id: str
    position: int
    row: int


WantedPositions = Callable[[str, int, int], Sequence[int]]
"""(internal id, start, stop) → wanted positions in [start, stop)."""


def plan_rows(batch: Iterable[ScheduledRequest], wanted: WantedPositions) -> list[PlannedPosition]:
    """Rows of the wanted positions, in batch order.

    The batch is flattened request by request, so a request's row is its offset plus the position's distance
    from the first scheduled one.
    """
    planned, offset = [], 0
    for request in batch:
        stop = request.computed + request.scheduled
        for position in wanted(request.internal_id, request.computed, stop):
            row = offset + position - request.computed
            planned.append(PlannedPosition(request.internal_id, position, row))
        offset += request.scheduled
    return planned
