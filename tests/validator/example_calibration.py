"""What the reference says of an example miner's answers, and the tiny model's calibration made of it."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from shared.calibration import Calibration
from shared.calibration_header import CalibrationHeader
from shared.commitments import Point
from shared.honest_noise import HonestNoise
from shared.model_identity import generation_digest, model_digest
from shared.records import RequestRecord
from shared.reference_examination import Examination
from shared.reference_model import ReferenceModel
from shared.sketches import cosine_distance, sketch, standardise
from tests.models import TINY_MODEL, tiny_model
from tests.validator.example_miner import ExampleMiner, receipt_of, tokens_of
from tests.validator.example_model import answer_checks, chat_body, reference
from validator.calibration_limits import ConditionSamples, NoiseSample, fit_noise
from validator.calibration_noise import replay_points
from validator.calibration_prompts import calibration_chats
from validator.calibration_statistics import measure_statistics, tokenise_chats
from validator.model_tokenizer import load_tokenizer
from validator.receipt_verification import committed_points
from validator.token_reading import TokenReading

NOISE_REQUESTS = 32
NOISE_TEMPERATURES = (0.0, 0.3, 1.0)


def reference_at(record: RequestRecord, points: Sequence[Point]) -> dict[Point, Tensor]:
    """The reference's hidden vectors, one pass each."""
    token_ids = tokens_of(record)
    return {point: _hidden_at(reference(), token_ids[point.choice], point) for point in points}


def _hidden_at(model: ReferenceModel, token_ids: Sequence[int], point: Point) -> Tensor:
    return model.hidden_states(token_ids, {point.layer: [point.position]})[point.layer][0]


@lru_cache(maxsize=1)
def bare_calibration() -> Calibration:
    """Statistics of the tiny model, no noise."""
    sequences = tokenise_chats(load_tokenizer(str(tiny_model())), calibration_chats()[:16])
    found = measure_statistics(reference(), sequences, lambda words: None)
    header = CalibrationHeader(
        model=TINY_MODEL,
        model_digest=model_digest(tiny_model()),
        generation_digest=generation_digest(tiny_model()),
        num_layers=reference().num_layers,
        hidden_size=reference().hidden_size,
        reference=ReferenceModel.describe("cpu", torch.float32),
        statistics_tokens=found.tokens,
    )
    return Calibration(header, found.mean, found.deviation)


def noise_sample(miner: ExampleMiner, record: RequestRecord) -> NoiseSample:
    """Distances of everything that one answer of one choice committed to, in one pass of each model."""
    receipt, token_ids = receipt_of(record), tokens_of(record)[0]
    points, replayed = committed_points(receipt).points, replay_points(receipt)
    positions = sorted({point.position for point in [*points, *replayed]})
    everywhere = dict.fromkeys(range(1, receipt.num_layers + 1), positions)
    ours, theirs = reference().hidden_states(token_ids, everywhere), miner.hidden(token_ids, everywhere)

    def distance(point: Point, view: Callable[..., Tensor]) -> float:
        row, statistics = positions.index(point.position), miner.calibration.layer(point.layer)
        pair = [view(states[point.layer][row], *statistics) for states in (theirs, ours)]
        return max(0.0, cosine_distance(*pair))

    return NoiseSample(
        receipt,
        {point: distance(point, sketch) for point in points},
        {point: distance(point, standardise) for point in replayed},
        token_reading(record),
    )


def token_reading(record: RequestRecord) -> TokenReading:
    """What the reference's logits say of every output token."""
    token_ids = tokens_of(record)
    audit = answer_checks().token_audit(record, token_ids)
    asked = [Examination(token_ids[index], {}, one) for index, one in audit.logits_requests().items()]
    for reading in reference().examine(asked):
        reference().hand_out(reading)
    return audit.reading()


@lru_cache(maxsize=1)
def honest_samples() -> tuple[NoiseSample, ...]:
    """What honest answers show, at several temperatures."""
    miner = ExampleMiner(bare_calibration())
    bodies = [
        chat_body(number, max_tokens=16, temperature=NOISE_TEMPERATURES[number % len(NOISE_TEMPERATURES)])
        for number in range(NOISE_REQUESTS)
    ]
    return tuple(noise_sample(miner, miner.answer(body)) for body in bodies)


@lru_cache(maxsize=1)
def tiny_calibration() -> Calibration:
    """Statistics and honest noise of the tiny model."""
    bare = bare_calibration()
    condition = ConditionSamples("eager", "transformers", honest_samples())
    noise = fit_noise([condition], bare.header.num_layers)
    return Calibration(bare.header.model_copy(update={"noise": noise}), bare.mean, bare.deviation)


def tiny_noise() -> HonestNoise:
    """The noise of `tiny_calibration`."""
    noise = tiny_calibration().header.noise
    assert noise is not None
    return noise
