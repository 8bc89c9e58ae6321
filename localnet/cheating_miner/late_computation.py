"""A cheat that computes nothing true until it is challenged."""

from collections.abc import Sequence

from localnet.cheating_miner.cheat import Cheat, MinerParts
from localnet.cheating_miner.made_up_openings import MadeUpOpenings, shown
from localnet.cheating_miner.sketch_cheats import RandomCapture
from miners.hidden_states.engine_capture import BFLOAT16_BYTES
from miners.service import Answers, Capture
from shared.calibration import Calibration
from shared.challenges import MAX_REPLAY_POINTS, OpenedPoint, OpenRequest, ReplayPoint
from shared.commitments import Commitment, Point
from shared.sketches import bfloat16_from_bytes, sketch, sketch_to_bytes


class LateComputation(Cheat):
    """Commits to noise while it serves; computes with the true model what a challenge asks for."""

    def __init__(self, parts: MinerParts) -> None:
        self._parts = parts

    def capture(self, capture: Capture) -> Capture:
        """Noise to commit to."""
        return RandomCapture(capture)

    def answers(self, answers: Answers) -> Answers:
        """True sketches, with the paths of the tree over noise."""
        return LateAnswers(answers, self._parts)


class LateAnswers(MadeUpOpenings):
    """Openings whose sketches are computed on demand, by the engine's replay."""

    async def opened(self, challenge: OpenRequest, commitment: Commitment) -> tuple[OpenedPoint, ...]:
        """The committed openings with true sketches in them."""
        points = [point.point() for point in challenge.points]
        openings = [opening for opening in commitment.open(points) if opening is not None]
        sketches = await self._compute([opening.point for opening in openings], commitment)
        return tuple(shown(one.point, one.token_id, sketches[one.point], one.path) for one in openings)

    async def _compute(self, points: Sequence[Point], commitment: Commitment) -> dict[Point, bytes]:
        computed: dict[Point, bytes] = {}
        for choice in {point.choice for point in points}:
            wanted = [point for point in points if point.choice == choice]
            for start in range(0, len(wanted), MAX_REPLAY_POINTS):
                part = wanted[start : start + MAX_REPLAY_POINTS]
                asked = [ReplayPoint(position=point.position, layer=point.layer) for point in part]
                vectors = await self.parts.capture.replay(commitment.token_ids[choice], asked)
                pairs = zip(part, vectors, strict=True)
                computed |= {point: _sketched(point, data, self.parts.calibration) for point, data in pairs}
        return computed


def _sketched(point: Point, vector: bytes, calibration: Calibration) -> bytes:
    hidden = bfloat16_from_bytes(vector, len(vector) // BFLOAT16_BYTES)
    return sketch_to_bytes(sketch(hidden, *calibration.layer(point.layer)))
