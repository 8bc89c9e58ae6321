import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor

from shared.canonical import canonical_json, sha256_hex
from shared.challenges import CHALLENGE_PATH, OpenRequest, parse_challenge
from shared.errors import ModelError
from shared.inference_paths import CHAT_PATH
from shared.records import ChoiceRecord, RequestRecord
from tests.models import TINY_MODEL
from tests.shared.keys import MINER, VALIDATOR
from tests.validator.example_calibration import bare_calibration, noise_sample
from tests.validator.example_generation import Generated, Writing
from tests.validator.example_miner import DistortedMiner, ExampleMiner, receipt_of
from tests.validator.example_model import answer_checks, chat_body, decoder, reference
from tests.validator.scripted_http import SeenRequest, response, scripted_server
from validator import calibration_requests
from validator.calibration_limits import ConditionSamples, NoiseSample, fit_noise
from validator.calibration_noise import HonestMiner, NoiseMeasurement, replay_points
from validator.calibration_prompts import calibration_chats
from validator.calibration_requests import noise_requests
from validator.calibration_traffic import MinerTraffic
from validator.detokenization import TextRule
from validator.evidence import FAIL_P_VALUE
from validator.miner_client import MinerClient, http_client
from validator.receipt_verification import committed_points
from validator.reference_worker import ReferenceWorker

REQUESTS = 20


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_requests, "OUTPUT_TOKENS", (1, 4, 12))


def served(miner: ExampleMiner, seen: SeenRequest, records: list[RequestRecord]) -> bytes:
    """What this miner's server sends."""
    if seen.target == CHALLENGE_PATH:
        challenge = parse_challenge(seen.body)
        if isinstance(challenge, OpenRequest):
            return canonical_json(miner.open(challenge))
        return canonical_json(miner.replay(challenge))
    body = json.loads(seen.body)
    record = miner.answer(body, path=seen.target, request_digest=sha256_hex(seen.body))
    records.append(record)
    choices = [_sent(choice, seen.target == CHAT_PATH, body["stream"]) for choice in record.choices]
    answer = json.dumps({"choices": choices, "receipt": record.receipt})
    return (f"data: {answer}\n\ndata: [DONE]\n\n" if body["stream"] else answer).encode()


def _sent(choice: ChoiceRecord, chat: bool, streamed: bool) -> dict[str, Any]:
    """One choice as a miner sends it, in one piece."""
    [text] = decoder().sent_texts(
        choice.prompt_token_ids, choice.output_token_ids, TextRule(), choice.finish_reason
    )
    shown = {"delta" if streamed else "message": {"content": text}} if chat else {"text": text}
    return {
        "index": choice.index,
        "prompt_token_ids": choice.prompt_token_ids,
        "token_ids": choice.output_token_ids,
        "finish_reason": choice.finish_reason,
        **shown,
    }


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
        measurement = NoiseMeasurement(honest, worker, answer_checks(), bare_calibration(), told.append)
        samples = await measurement.samples(wanted)
    worker.close()
    return samples, told


async def test_everything_that_was_committed_to_is_measured() -> None:
    samples, told = await measured(ExampleMiner(bare_calibration()))
    assert len(samples) == REQUESTS
    for sample in samples:
        assert set(sample.opened) == set(committed_points(sample.receipt).points)
        assert set(sample.replayed) == set(replay_points(sample.receipt))
        assert len(sample.tokens.margins) == sum(choice.output_tokens for choice in sample.receipt.choices)
    assert told[-1] == f"noise: {REQUESTS} of {REQUESTS} requests"


async def test_honest_samples_give_limits_that_they_keep() -> None:
    samples, _ = await measured(ExampleMiner(bare_calibration()))
    condition = ConditionSamples("eager", "transformers", samples)
    noise = fit_noise([condition], bare_calibration().header.num_layers)
    [report] = noise.conditions
    assert report.false_alarms == 0
    assert report.exact_tokens > 0.9
    assert max(max(row) for row in noise.scale) < 1e-2
    assert 1 < noise.typical.score_at(FAIL_P_VALUE) < 50


async def test_distances_are_those_of_the_models() -> None:
    miner = ExampleMiner(bare_calibration())
    expected = noise_sample(miner, miner.answer(chat_body(0, request_id="request-0000", max_tokens=8)))
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


async def test_a_miner_that_cuts_its_answers_short_can_not_be_calibrated_with() -> None:
    def cut(generated: Generated) -> Generated:
        return replace(generated, token_ids=generated.token_ids[:1])

    miner = ExampleMiner(bare_calibration(), writing=Writing(edit=cut))
    with pytest.raises(ModelError, match="before max_tokens 4"):
        await measured(miner, requests=2)


async def test_replay_points_spread_over_positions_and_reach_the_last_layer() -> None:
    record = ExampleMiner(bare_calibration()).answer(chat_body(1))
    points = replay_points(receipt_of(record))
    assert len(points) == 16
    assert {point.layer for point in points} == {1, 2, 3, 4}
    positions = sorted({point.position for point in points})
    assert positions[0] == 0
    assert positions[-1] > len(record.choices[0].prompt_token_ids) / 2
