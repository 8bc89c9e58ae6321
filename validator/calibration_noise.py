"""Stage two of a calibration: how far an honest miner's sketches and replays lie from the reference."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

from shared.calibration import Calibration
from shared.challenges import (
    MAX_OPEN_POINTS,
    MAX_REPLAY_POINTS,
    OpenAnswer,
    OpenPoint,
    OpenRequest,
    ReplayAnswer,
    ReplayPoint,
    ReplayRequest,
)
from shared.commitments import Opening, Point
from shared.errors import ModelError
from shared.receipts import Receipt
from shared.records import RequestRecord
from shared.sketches import (
    bfloat16_from_bytes,
    cosine_distance,
    decode_base64,
    sketch,
    sketch_from_bytes,
    standardise,
)
from validator.answer_checks import AnswerChecks
from validator.calibration_limits import NoiseSample
from validator.calibration_requests import NoiseRequest, waves
from validator.calibration_statistics import Progress
from validator.calibration_traffic import MinerTraffic
from validator.findings import Finding
from validator.miner_client import MinerClient
from validator.receipt_verification import (
    check_lengths,
    check_prompts,
    check_statement,
    committed_points,
    read_receipt,
)
from validator.reference_worker import ReferenceWorker
from validator.verification import check_openings

T = TypeVar("T")

REPLAYED_POSITIONS = 4
REPLAYED_LAYERS = 4
"""Replayed points of a request: so many positions, at so many layers each (MAX_REPLAY_POINTS in all)."""

assert REPLAYED_POSITIONS * REPLAYED_LAYERS <= MAX_REPLAY_POINTS


@dataclass(frozen=True)
class HonestMiner:
    """The miner that is measured: its address "ip:port" and hotkey, and clients that talk to it."""

    axon: str
    hotkey: str
    traffic: MinerTraffic
    client: MinerClient


class NoiseMeasurement:
    """Asks an honest miner, opens everything that it committed to, and compares with the reference."""

    def __init__(
        self,
        miner: HonestMiner,
        reference: ReferenceWorker,
        checks: AnswerChecks,
        calibration: Calibration,
        progress: Progress,
    ) -> None:
        self._miner, self._reference, self._checks = miner, reference, checks
        self._calibration, self._progress = calibration, progress

    async def samples(self, requests: Sequence[NoiseRequest]) -> list[NoiseSample]:
        """One sample of each request; requests go out in waves, comparisons run between them.

        Raises:
            ModelError: a check failed that is not about noise, so the miner is not an honest one.
        """
        samples: list[NoiseSample] = []
        for wave in waves(requests):
            records = await asyncio.gather(*(self._miner.traffic.ask(request) for request in wave))
            samples += [await self._sample(record) for record in records]
            self._progress(f"noise: {len(samples)} of {len(requests)} requests")
        return samples

    async def _sample(self, record: RequestRecord) -> NoiseSample:
        receipt = _held(read_receipt(record))
        _held(check_statement(receipt, record, self._calibration.header.model, self._calibration))
        _held(check_lengths(receipt, record))
        prompts = self._checks.prompts(record)
        _held(check_prompts(receipt, record, prompts))
        _held(self._checks.check_text(record).finding)
        _held(self._checks.check_end(record))
        outputs = {choice.index: choice.output_token_ids for choice in record.choices}
        token_ids = {index: [*prompt, *outputs[index]] for index, prompt in enumerate(prompts)}
        openings = await self._openings(receipt, token_ids)
        replayed = await self._replayed(receipt, token_ids)
        points = [*(opening.point for opening in openings), *replayed]
        tokens = self._checks.token_audit(record, token_ids)
        reference = await self._reference.examine(token_ids, points, tokens.logits_requests())
        return NoiseSample(
            receipt,
            {opening.point: self._sketch_distance(opening, reference) for opening in openings},
            {point: self._vector_distance(point, vector, reference) for point, vector in replayed.items()},
            tokens.reading(),
        )

    async def _openings(self, receipt: Receipt, token_ids: Mapping[int, Sequence[int]]) -> list[Opening]:
        points = committed_points(receipt).points
        openings: list[Opening] = []
        for start in range(0, len(points), MAX_OPEN_POINTS):
            asked = points[start : start + MAX_OPEN_POINTS]
            challenge = OpenRequest(
                request_id=receipt.request_id,
                points=tuple(OpenPoint(choice=p.choice, position=p.position, layer=p.layer) for p in asked),
            )
            answer = await self._miner.client.open(challenge, self._miner.axon, self._miner.hotkey)
            if not isinstance(answer, OpenAnswer):
                raise ModelError(f"the miner does not open what it committed to: {answer}")
            openings += _held(check_openings(receipt, asked, answer, token_ids))
        return openings

    async def _replayed(
        self, receipt: Receipt, token_ids: Mapping[int, Sequence[int]]
    ) -> dict[Point, Tensor]:
        points = replay_points(receipt)
        challenge = ReplayRequest(
            token_ids=tuple(token_ids[0]),
            points=tuple(ReplayPoint(position=point.position, layer=point.layer) for point in points),
        )
        answer = await self._miner.client.replay(challenge, self._miner.axon, self._miner.hotkey)
        if not isinstance(answer, ReplayAnswer) or len(answer.vectors) != len(points):
            raise ModelError(f"the miner does not replay: {answer}")
        size = self._calibration.header.hidden_size
        vectors = [
            bfloat16_from_bytes(decode_base64(given.vector, size * 2), size) for given in answer.vectors
        ]
        return dict(zip(points, vectors, strict=True))

    def _sketch_distance(self, opening: Opening, reference: Mapping[Point, Tensor]) -> float:
        statistics = self._calibration.layer(opening.point.layer)
        ours = sketch(reference[opening.point], *statistics)
        return max(0.0, cosine_distance(sketch_from_bytes(opening.sketch), ours))

    def _vector_distance(self, point: Point, vector: Tensor, reference: Mapping[Point, Tensor]) -> float:
        statistics = self._calibration.layer(point.layer)
        ours = standardise(reference[point], *statistics)
        return max(0.0, cosine_distance(standardise(vector, *statistics), ours))


def replay_points(receipt: Receipt) -> list[Point]:
    """Points spread evenly over the first choice's positions and the layers, the last layer among them."""
    choice = min(receipt.choices, key=lambda one: one.index)
    computed = choice.prompt_tokens + max(choice.output_tokens - 1, 0)
    positions = {computed * number // REPLAYED_POSITIONS for number in range(REPLAYED_POSITIONS)}
    layers = {receipt.num_layers * number // REPLAYED_LAYERS for number in range(1, REPLAYED_LAYERS + 1)}
    return [
        Point(choice.index, position, layer)
        for position in sorted(positions)
        for layer in sorted(layers - {0})
    ]


def _held(result: Finding | T) -> T:
    if isinstance(result, Finding):
        raise ModelError(f"the miner that should be honest fails the check {result.check!r}: {result.reason}")
    return result
