"""What the plugin captures inside a real engine, against the reference model, position by position."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from vllm import SamplingParams
from vllm.sampling_params import RequestOutputKind

from miners.hidden_states.engine_capture import CapturedChoice, EngineCapture
from shared.calibration import Calibration, write_calibration
from shared.challenges import ReplayPoint
from shared.committed_positions import committed_positions
from shared.errors import ModelError
from shared.sketches import bfloat16_from_bytes, cosine_distance
from tests.miners.hidden_states.comparison import HONEST_DISTANCE, WRONG_DISTANCE, Comparison
from tests.miners.hidden_states.engine_requests import Answer, generate, new_id, preemptions, prompt_of

pytestmark = [pytest.mark.vllm, pytest.mark.asyncio(loop_scope="session")]

VECTOR_DISTANCE = 0.001
"""Above raw cosine distances between bfloat16 and float32 vectors of the random model."""


def sampling(tokens: int, **options: Any) -> SamplingParams:
    return SamplingParams(max_tokens=tokens, ignore_eos=True, temperature=0.8, seed=7, **options)


async def serve(
    engine: Any, capture: EngineCapture, prompt: list[int], tokens: int
) -> tuple[str, Answer, CapturedChoice]:
    """One chat request, start to collection."""
    request_id = new_id()
    (answer,) = await generate(engine, f"chatcmpl-{request_id}", prompt, sampling(tokens))
    (captured,) = await capture.collect(request_id)
    return request_id, answer, captured


def emitted(request_id: str, answer: Answer, captured: CapturedChoice, num_layers: int) -> CapturedChoice:
    """What is left of a capture after the step that ran beyond the output; nothing may be missing."""
    expected = committed_positions(
        request_id, captured.index, len(answer.prompt), len(answer.output), captured.cached_tokens
    )
    assert list(captured.positions[: len(expected)]) == expected
    return replace(
        captured,
        positions=tuple(expected),
        sketches=captured.sketches[: len(expected) * num_layers * 128],
    )


def assert_honest(comparison: Comparison, request_id: str, answer: Answer, captured: CapturedChoice) -> None:
    kept = emitted(request_id, answer, captured, comparison.num_layers)
    assert len(kept.positions) >= 1
    assert float(comparison.distances(kept, answer.tokens).max()) < HONEST_DISTANCE


async def test_every_committed_position_of_a_request_matches_the_reference(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, answer, captured = await serve(engine, capture, prompt_of(40, 1), 40)
    assert captured.cached_tokens == 0
    assert_honest(comparison, request_id, answer, captured)


async def test_a_neighbour_position_does_not_match(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, answer, captured = await serve(engine, capture, prompt_of(40, 2), 20)
    kept = emitted(request_id, answer, captured, comparison.num_layers)
    assert float(comparison.distances(kept, answer.tokens, shift=-1).min()) > WRONG_DISTANCE
    assert float(comparison.distances(kept, answer.tokens, shift=1).min()) > WRONG_DISTANCE


async def test_another_layer_does_not_match(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, answer, captured = await serve(engine, capture, prompt_of(40, 3), 20)
    kept = emitted(request_id, answer, captured, comparison.num_layers)
    assert float(comparison.layer_shifted_distances(kept, answer.tokens).min()) > WRONG_DISTANCE


async def test_one_changed_prompt_token_does_not_match_from_there_on(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, answer, captured = await serve(engine, capture, prompt_of(40, 4), 4)
    kept = emitted(request_id, answer, captured, comparison.num_layers)
    changed = list(answer.tokens)
    changed[kept.positions[-1]] += 1
    assert float(comparison.distances(kept, changed)[-1].min()) > WRONG_DISTANCE


async def test_requests_batched_together_keep_their_own_rows(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    lengths = [(5, 30), (17, 9), (33, 60), (64, 3), (1, 25), (48, 48), (20, 1), (29, 33)]
    jobs = [serve(engine, capture, prompt_of(n, 10 + i), out) for i, (n, out) in enumerate(lengths)]
    for request_id, answer, captured in await asyncio.gather(*jobs):
        assert_honest(comparison, request_id, answer, captured)


async def test_more_requests_than_fit_the_batch_are_all_captured_whole(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    jobs = [serve(engine, capture, prompt_of(6, 100 + i), 2) for i in range(24)]
    for request_id, answer, captured in await asyncio.gather(*jobs):
        assert_honest(comparison, request_id, answer, captured)


async def test_a_prompt_prefilled_in_chunks_is_captured_in_every_chunk(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, answer, captured = await serve(engine, capture, prompt_of(300, 30), 8)
    assert len([position for position in captured.positions if position < 300]) >= 300 // 16
    assert_honest(comparison, request_id, answer, captured)


async def test_a_seeded_prompt_gives_the_same_tokens_however_it_is_cut(
    engine: Any, capture: EngineCapture
) -> None:
    """The second time all but the prompt's end comes from the cache, so that one step holds it."""
    prompt = prompt_of(300, 32)
    _, cut, first = await serve(engine, capture, prompt, 12)
    _, whole, second = await serve(engine, capture, prompt, 12)
    assert first.cached_tokens == 0
    assert second.cached_tokens == 288
    assert cut.output == whole.output


async def test_a_context_filled_to_the_end_is_captured_whole(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, answer, captured = await serve(engine, capture, prompt_of(450, 31), 62)
    assert len(answer.tokens) == 512
    assert_honest(comparison, request_id, answer, captured)


async def test_positions_from_the_prefix_cache_are_named_and_left_out(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    shared_prefix = prompt_of(96, 40)
    await serve(engine, capture, shared_prefix + prompt_of(8, 41), 4)
    request_id, answer, captured = await serve(engine, capture, shared_prefix + prompt_of(20, 42), 20)
    assert captured.cached_tokens == 96
    assert captured.positions[0] >= 96
    assert_honest(comparison, request_id, answer, captured)


async def test_a_wholly_cached_prompt_still_commits_to_its_last_position(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    prompt = prompt_of(64, 43)
    await serve(engine, capture, prompt, 2)
    request_id, answer, captured = await serve(engine, capture, prompt, 2)
    assert 0 < captured.cached_tokens < 64
    assert 63 in captured.positions
    assert_honest(comparison, request_id, answer, captured)


async def test_preempted_requests_end_with_true_sketches_at_every_position(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    before = preemptions()
    jobs = [serve(engine, capture, prompt_of(60, 50 + i), 300) for i in range(6)]
    finished = await asyncio.gather(*jobs)
    assert preemptions() > before
    for request_id, answer, captured in finished:
        assert len(answer.output) == 300
        assert_honest(comparison, request_id, answer, captured)


async def test_samples_of_one_prompt_are_choices_of_one_request(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id = new_id()
    answers = await generate(engine, f"chatcmpl-{request_id}", prompt_of(30, 60), sampling(24, n=2))
    captured = await capture.collect(request_id)
    assert [choice.index for choice in captured] == [0, 1]
    assert answers[0].output != answers[1].output
    for answer, choice in zip(answers, captured, strict=True):
        assert_honest(comparison, request_id, answer, choice)


async def test_samples_of_several_prompts_are_numbered_as_in_the_response(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id = new_id()
    jobs = [
        generate(engine, f"cmpl-{request_id}-{prompt}", prompt_of(25, 70 + prompt), sampling(18, n=2))
        for prompt in range(3)
    ]
    answers = [answer for choices in await asyncio.gather(*jobs) for answer in choices]
    captured = await capture.collect(request_id)
    assert [choice.index for choice in captured] == [0, 1, 2, 3, 4, 5]
    for answer, choice in zip(answers, captured, strict=True):
        assert_honest(comparison, request_id, answer, choice)


async def test_a_client_cannot_number_its_own_choices(engine: Any, capture: EngineCapture) -> None:
    request_id = new_id()
    hostile = sampling(2, extra_args={"constantinople_n": 1e999})
    await generate(engine, f"cmpl-{request_id}-1", prompt_of(8, 75), hostile)
    assert [choice.index for choice in await capture.collect(request_id)] == [1]


async def test_a_streamed_answer_is_captured_like_any_other(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    request_id, prompt, output = new_id(), prompt_of(22, 80), []
    params = sampling(30, output_kind=RequestOutputKind.DELTA)
    async for part in engine.generate({"prompt_token_ids": prompt}, params, f"chatcmpl-{request_id}"):
        output += part.outputs[0].token_ids
    (captured,) = await capture.collect(request_id)
    assert_honest(comparison, request_id, Answer(prompt, output), captured)


async def test_an_aborted_stream_is_forgotten(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    held, request_id = await capture.held(), new_id()
    params = sampling(400, output_kind=RequestOutputKind.DELTA)
    stream = engine.generate({"prompt_token_ids": prompt_of(40, 90)}, params, f"chatcmpl-{request_id}")
    async for part in stream:
        if part.outputs[0].token_ids:
            break
    assert (await capture.held())[0] == held[0] + 1
    await stream.aclose()
    await capture.discard(request_id)
    assert await capture.held() == held
    other, answer, captured = await serve(engine, capture, prompt_of(40, 91), 10)
    assert_honest(comparison, other, answer, captured)
    assert await capture.held() == held


async def test_a_request_is_collected_once(engine: Any, capture: EngineCapture) -> None:
    request_id, _, _ = await serve(engine, capture, prompt_of(20, 92), 4)
    assert await capture.collect(request_id) == []


@pytest.mark.parametrize("name", ["chatcmpl-short", "generate-tokens-{}", "hidden-{}", "{}"])
async def test_requests_outside_the_openai_routes_are_not_committed(
    engine: Any, capture: EngineCapture, name: str
) -> None:
    held, request_id = await capture.held(), new_id()
    await generate(engine, name.format(request_id), prompt_of(20, 93), sampling(2))
    assert await capture.collect(request_id) == []
    assert await capture.held() == held


def points_at(positions: Sequence[int], layers: Sequence[int]) -> list[ReplayPoint]:
    return [ReplayPoint(position=position, layer=layer) for position in positions for layer in layers]


def raw_distance(comparison: Comparison, data: bytes, tokens: list[int], point: ReplayPoint) -> float:
    taken = comparison.reference.hidden_states(tokens, {point.layer: [point.position]})[point.layer][0]
    return cosine_distance(bfloat16_from_bytes(data, comparison.reference.hidden_size), taken)


async def test_replay_gives_the_vectors_that_were_asked_for_in_order(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    tokens = prompt_of(150, 200)
    points = points_at([149, 0, 77], [4, 0, 2])
    vectors = await capture.replay(tokens, points)
    distances = [raw_distance(comparison, v, tokens, p) for v, p in zip(vectors, points, strict=True)]
    assert max(distances) < VECTOR_DISTANCE
    rotated = [raw_distance(comparison, v, tokens, p) for v, p in zip(vectors[1:], points, strict=False)]
    assert min(rotated) > 10 * VECTOR_DISTANCE


async def test_replay_sees_what_the_prefix_cache_holds_computed_anew(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    _, answer, _ = await serve(engine, capture, prompt_of(100, 201), 8)
    (vector,) = await capture.replay(answer.tokens, points_at([3], [3]))
    assert raw_distance(comparison, vector, answer.tokens, points_at([3], [3])[0]) < VECTOR_DISTANCE


async def test_replays_among_users_disturb_neither(
    engine: Any, capture: EngineCapture, comparison: Comparison
) -> None:
    tokens, points = prompt_of(120, 202), points_at(range(5, 117, 7), [1])
    jobs = [serve(engine, capture, prompt_of(30, 210 + i), 30) for i in range(4)]
    replays = [capture.replay(tokens, points) for _ in range(5)]
    served, replayed = await asyncio.gather(asyncio.gather(*jobs), asyncio.gather(*replays))
    for request_id, answer, captured in served:
        assert_honest(comparison, request_id, answer, captured)
    for vectors in replayed:
        for vector, point in zip(vectors, points, strict=True):
            assert raw_distance(comparison, vector, tokens, point) < VECTOR_DISTANCE


async def test_replays_leave_nothing_behind(engine: Any, capture: EngineCapture) -> None:
    held = await capture.held()
    await capture.replay(prompt_of(40, 220), points_at([39], [4]))
    assert await capture.held() == held


@pytest.mark.parametrize(
    ("tokens", "position", "layer", "words"),
    [
        ([5, 6], 2, 1, "outside"),
        ([5, 6], 1, 5, "outside"),
        ([5, 10**6], 1, 1, "vocabulary"),
        ([5, -1], 1, 1, "vocabulary"),
        ([5] * 512, 1, 1, "512 tokens"),
        ([], 0, 1, "0 tokens"),
    ],
)
async def test_replay_refuses_what_the_engine_cannot_compute(
    capture: EngineCapture, tokens: list[int], position: int, layer: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        await capture.replay(tokens, points_at([position], [layer]))


async def test_another_models_calibration_is_refused(
    engine: Any, capture: EngineCapture, calibration: Calibration, tmp_path: Path
) -> None:
    shape = {"num_layers": 3, "hidden_size": 256}
    other = Calibration(calibration.header.model_copy(update=shape), torch.zeros(3, 256), torch.ones(3, 256))
    write_calibration(other, tmp_path / "other")
    with pytest.raises(ModelError, match="3 layers of 256"):
        await EngineCapture(engine).install(tmp_path / "other")


async def test_a_missing_calibration_is_refused(engine: Any, capture: EngineCapture, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="can't be read"):
        await EngineCapture(engine).install(tmp_path / "missing")


async def test_memory_is_back_to_level_after_all_of_this(engine: Any, capture: EngineCapture) -> None:
    assert await capture.held() == (0, 0)
