import asyncio
import json
from collections.abc import Callable
from itertools import count

import pytest
import torch
from torch import Tensor

from shared.canonical import canonical_json, sha256_hex
from shared.challenges import CHALLENGE_PATH, OpenRequest, parse_challenge
from shared.errors import ModelError
from shared.records import RequestRecord
from tests.models import TINY_MODEL
from tests.shared.keys import MINER, VALIDATOR
from tests.validator.example_miner import (
    DistortedMiner,
    ExampleMiner,
    bare_calibration,
    chat_body,
    noise_sample,
    receipt_of,
    reference,
    renderer,
)
from tests.validator.scripted_http import SeenRequest, response, scripted_server
from validator.calibration_limits import NoiseSample, fit_noise
from validator.calibration_noise import HonestMiner, NoiseMeasurement, replay_points
from validator.calibration_prompts import calibration_chats
from validator.calibration_requests import noise_requests
from validator.calibration_traffic import MinerTraffic
from validator.miner_client import MinerClient, http_client
from validator.receipt_verification import committed_points
from validator.reference_worker import ReferenceWorker

REQUESTS = 20


def served(miner: ExampleMiner, seen: SeenRequest, records: list[RequestRecord]) -> bytes:
    """What this miner's server sends."""
    if seen.target == CHALLENGE_PATH:
        challenge = parse_challenge(seen.body)
        if isinstance(challenge, OpenRequest):
            return canonical_json(miner.open(challenge))
        return canonical_json(miner.replay(challenge))
    body = json.loads(seen.body)
    record = miner.answer(
        body, path=seen.target, count=min(body["max_tokens"], 20), request_digest=sha256_hex(seen.body)
    )
    records.append(record)
    choices = [
        {
            "index": choice.index,
            "prompt_token_ids": choice.prompt_token_ids,
            "token_ids": choice.output_token_ids,
        }
        for choice in record.choices
    ]
    answer = json.dumps({"choices": choices, "receipt": record.receipt})
    return (f"data: {answer}\n\ndata: [DONE]\n\n" if body["stream"] else answer).encode()


async def measured(miner: ExampleMiner, requests: int = REQUESTS) -> tuple[list[NoiseSample], list[str]]:
    """The samples of a measurement over real HTTP, and what it told."""
    records: list[RequestRecord] = []
    told: list[str] = []

    async def script(seen: SeenRequest, writer: asyncio.StreamWriter) -> None:
        writer.write(response(200, served(miner, seen, records)))

    numbers = count()
    wanted = noise_requests(TINY_MODEL, calibration_chats(), requests, lambda: f"request-{next(numbers):04d}")
    worker = ReferenceWorker(reference)
    async with scripted_server(script) as server, http_client() as http:
        honest = HonestMiner(
            server.axon,
            MINER.ss58_address,
            MinerTraffic(http, VALIDATOR, f"http://{server.axon}", MINER.ss58_address, lambda: 1000),
            MinerClient(VALIDATOR, http, allow_local=True),
        )
        measurement = NoiseMeasurement(honest, worker, renderer(), bare_calibration(), told.append)
        samples = await measurement.samples(wanted)
    worker.close()
    return samples, told


async def test_everything_that_was_committed_to_is_measured() -> None:
    samples, told = await measured(ExampleMiner(bare_calibration()))
    assert len(samples) == REQUESTS
    for sample in samples:
        assert set(sample.opened) == set(committed_points(sample.receipt).points)
        assert set(sample.replayed) == set(replay_points(sample.receipt))
    assert told[-1] == f"noise: {REQUESTS} of {REQUESTS} requests"


async def test_honest_samples_give_limits_that_they_keep() -> None:
    samples, _ = await measured(ExampleMiner(bare_calibration()))
    noise = fit_noise(samples, bare_calibration().header.num_layers)
    assert noise.held_out_false_alarms == 0
    assert 0 < noise.held_out_highest < noise.audit_limit < 20
    assert max(noise.layer_scale) < 1e-2


async def test_distances_are_those_of_the_models() -> None:
    miner = ExampleMiner(bare_calibration())
    expected = noise_sample(miner, miner.answer(chat_body(0, request_id="request-0000"), count=8))
    [first] = (await measured(miner, requests=1))[0]
    mean = sum(first.opened.values()) / len(first.opened)
    assert mean == pytest.approx(sum(expected.opened.values()) / len(expected.opened), rel=1.0)


@pytest.mark.parametrize(
    "distort", [lambda states, layer: torch.zeros_like(states), lambda states, layer: states.flip(-1)]
)
async def test_a_dishonest_engine_shows_as_noise_far_above_honest_noise(
    distort: Callable[[Tensor, int], Tensor],
) -> None:
    [sample] = (await measured(DistortedMiner(distort, bare_calibration()), requests=1))[0]
    assert min(sample.opened.values()) > 0.05


async def test_a_miner_that_fails_a_check_can_not_be_calibrated_with() -> None:
    class Falsifying(ExampleMiner):
        def answer(self, *args: object, **fields: object) -> RequestRecord:
            return super().answer(*args, **{**fields, "num_layers": 3})  # type: ignore[arg-type]

    with pytest.raises(ModelError, match="number of layers"):
        await measured(Falsifying(bare_calibration()), requests=1)


async def test_replay_points_spread_over_positions_and_reach_the_last_layer() -> None:
    record = ExampleMiner(bare_calibration()).answer(chat_body(1))
    points = replay_points(receipt_of(record))
    assert len(points) == 16
    assert {point.layer for point in points} == {1, 2, 3, 4}
    positions = sorted({point.position for point in points})
    assert positions[0] == 0
    assert positions[-1] > len(record.choices[0].prompt_token_ids) / 2
