"""The worker's half without an engine: vLLM's own configuration and batch types, no model."""

from typing import Any

import pytest
import torch

from miners.hidden_states import capture as tapping
from miners.hidden_states import worker
from miners.hidden_states.capture import Tap
from miners.hidden_states.step_plan import ScheduledRequest
from miners.hidden_states.worker import StepCapture, sketch_rows
from shared.errors import ModelError
from shared.sketches import sketch

LAYERS, HIDDEN = 3, 16


@pytest.fixture
def tap() -> Tap:
    generator = torch.Generator().manual_seed(0)
    buffer = torch.randn(LAYERS + 1, 8, HIDDEN, generator=generator)
    return Tap(buffer, torch.zeros(8, dtype=torch.int64))


def step_capture(tap: Tap) -> StepCapture:
    return StepCapture(tap, torch.zeros(LAYERS, HIDDEN), torch.ones(LAYERS, HIDDEN))


def test_sketching_in_parts_gives_what_sketching_at_once_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = torch.randn(LAYERS, 50, HIDDEN)
    mean, deviation = torch.randn(LAYERS, 1, HIDDEN), torch.rand(LAYERS, 1, HIDDEN) + 0.5
    monkeypatch.setattr(worker, "SCRATCH_BYTES", LAYERS * HIDDEN * 12 * 7)
    in_parts = sketch_rows(hidden, mean, deviation)
    at_once = sketch(hidden, mean, deviation)
    assert torch.allclose(in_parts.float(), at_once.float(), rtol=0.01, atol=0.01)


def test_a_single_row_that_exceeds_the_scratch_memory_is_sketched_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker, "SCRATCH_BYTES", 1)
    one = torch.ones(LAYERS, 1, HIDDEN)
    assert sketch_rows(torch.randn(LAYERS, 2, HIDDEN), one * 0, one).shape == (LAYERS, 2, 64)


def test_a_step_keeps_its_rows_under_the_positions_that_were_planned(tap: Tap) -> None:
    capture, name = step_capture(tap), "chatcmpl-abcdefgh-00000000"
    capture.store.begin(name, 8, 0, {})
    capture.plan([ScheduledRequest("other", 0, 5), ScheduledRequest(name, 0, 8)])
    planned = capture.store.wanted(name, 0, 8)
    assert tap.rows[: tap.wanted].tolist() == [5 + position for position in planned]
    capture.end_step()
    (taken,) = capture.store.take_choices("abcdefgh")
    assert sorted(taken.rows) == list(planned)
    for number, position in enumerate(planned):
        expected = sketch(tap.buffer[1:, number], torch.zeros(HIDDEN), torch.ones(HIDDEN))
        actual = torch.frombuffer(bytearray(taken.rows[position]), dtype=torch.bfloat16).reshape(LAYERS, 64)
        assert torch.allclose(actual.float(), expected.float(), rtol=0.01, atol=0.01)


def test_a_step_of_nobodys_requests_keeps_nothing(tap: Tap) -> None:
    capture = step_capture(tap)
    capture.plan([ScheduledRequest("other", 0, 5)])
    capture.end_step()
    assert (tap.wanted, len(capture.store)) == (0, 0)


@pytest.mark.vllm
@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("parallel_config", "pipeline_parallel_size", 2, "pipeline parallelism"),
        ("parallel_config", "data_parallel_size", 2, "data parallelism"),
        ("parallel_config", "prefill_context_parallel_size", 2, "context parallelism"),
        ("parallel_config", "enable_dbo", True, "microbatches"),
        ("cache_config", "kv_sharing_fast_prefill", True, "fast-prefill"),
        (None, "speculative_config", object(), "speculative decoding"),
    ],
)
def test_engines_whose_rows_cannot_be_mapped_are_refused_in_words(
    engine_config: Any,
    monkeypatch: pytest.MonkeyPatch,
    tap: Tap,
    part: str | None,
    name: str,
    value: Any,
    words: str,
) -> None:
    monkeypatch.setattr(tapping._Current, "tap", tap)
    monkeypatch.setattr(getattr(engine_config, part) if part else engine_config, name, value)
    with pytest.raises(ModelError, match=words):
        worker._usable_tap(engine_config)


@pytest.mark.vllm
def test_an_ordinary_engine_is_not_refused(
    engine_config: Any, monkeypatch: pytest.MonkeyPatch, tap: Tap
) -> None:
    monkeypatch.setattr(tapping._Current, "tap", tap)
    assert worker._usable_tap(engine_config) is tap


@pytest.mark.vllm
def test_a_model_without_the_hook_is_refused_by_name(
    engine_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tapping._Current, "tap", None)
    with pytest.raises(ModelError, match="Qwen2ForCausalLM does not offer"):
        worker._usable_tap(engine_config)


@pytest.mark.vllm
def test_the_second_runners_batch_is_read_in_its_own_order() -> None:
    from vllm.v1.worker.gpu.input_batch import InputBatch, InputBuffers

    batch = InputBatch.make_dummy(3, 10, InputBuffers(4, 16, torch.device("cpu")))
    batch.num_computed_tokens_np[:] = [7, 0, 40]
    read = list(worker._second_runner_batch(batch))
    assert [one.internal_id for one in read] == batch.req_ids
    assert [one.computed for one in read] == [7, 0, 40]
    assert sum(one.scheduled for one in read) == 10
