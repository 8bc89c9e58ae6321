"""A cheat that opens something else than what it committed to."""

from collections import deque

from localnet.cheating_miner.cheat import ChangedCapture, Cheat, MinerParts
from localnet.cheating_miner.made_up_openings import MadeUpOpenings, shown
from miners.hidden_states.engine_capture import CapturedChoice
from miners.service import Answers, Capture
from shared.challenges import OpenedPoint, OpenRequest
from shared.commitments import Commitment, Point

REMEMBERED = 64
"""Requests whose openings may be replayed."""


class ReplayedOpening(Cheat):
    """Answers with openings of another request that it served, under the names that were asked for."""

    def __init__(self, parts: MinerParts) -> None:
        self._parts = parts
        self._served: deque[str] = deque(maxlen=REMEMBERED)

    def capture(self, capture: Capture) -> Capture:
        """The captures as they are; which requests there were is remembered."""
        return _Remembering(capture, self._served)

    def answers(self, answers: Answers) -> Answers:
        """Openings of the last other request that is held."""
        return ReplayedAnswers(answers, self._parts, self._served)


class _Remembering(ChangedCapture):
    def __init__(self, capture: Capture, served: deque[str]) -> None:
        super().__init__(capture)
        self._served = served

    async def collect(self, request_id: str) -> list[CapturedChoice]:
        self._served.append(request_id)
        return await super().collect(request_id)


class ReplayedAnswers(MadeUpOpenings):
    """Openings of another request; the request's own while there is no other."""

    def __init__(self, answers: Answers, parts: MinerParts, served: deque[str]) -> None:
        super().__init__(answers, parts)
        self._served = served

    async def opened(self, challenge: OpenRequest, commitment: Commitment) -> tuple[OpenedPoint, ...]:
        """For each point asked for, an opening of the other request at the same layer."""
        other = self._other(challenge.request_id) or commitment
        committed = commitment.points()
        asked = [point.point() for point in challenge.points]
        own = [point for point in asked if committed.leaf_number(point) is not None]
        openings = other.open([_nearest(other, point) for point in own])
        return tuple(
            shown(point, commitment.token_ids[point.choice][point.position], opening.sketch, opening.path)
            for point, opening in zip(own, openings, strict=True)
            if opening is not None
        )

    def _other(self, request_id: str) -> Commitment | None:
        others = (self.parts.commitments.get(one) for one in reversed(self._served) if one != request_id)
        return next((other for other in others if other is not None), None)


def _nearest(commitment: Commitment, point: Point) -> Point:
    same_layer = [candidate for candidate in commitment.points().points if candidate.layer == point.layer]
    return min(same_layer, key=lambda candidate: abs(candidate.position - point.position))
