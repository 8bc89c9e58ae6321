"""The worker's half: maps each step's batch rows to requests and keeps what the tap copied.

vLLM mixes this class into its worker; the public methods are called through `collective_rpc`. The
mapping is read where the model runner has just laid out its batch: `_prepare_inputs` in the first runner,
`prepare_inputs` in the second.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from miners.hidden_states.capture import Tap, current_tap
from miners.hidden_states.capture_store import CaptureStore
from miners.hidden_states.sampler_noise import check_sampling_config, install_noise
from miners.hidden_states.step_plan import PlannedPosition, ScheduledRequest, plan_rows
from shared.calibration import read_calibration
from shared.errors import ModelError
from shared.sketches import sketch

SCRATCH_BYTES = 64 << 20
"""Scratch memory of sketching, whose float32 copies of a large prefill's rows would else take gigabytes."""

_SCRATCH_PER_NUMBER = 12
"""Bytes for one number of a hidden vector: float32, its standardised copy and one temporary."""


def sketch_rows(hidden: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """Sketches in bounded memory: [num_layers, rows, hidden_size] → bfloat16 [num_layers, rows, 64].

    `mean` and `deviation` are [num_layers, 1, hidden_size].
    """
    part = max(1, SCRATCH_BYTES // (hidden.shape[0] * hidden.shape[2] * _SCRATCH_PER_NUMBER))
    if hidden.shape[1] <= part:
        return sketch(hidden, mean, deviation)
    return torch.cat([sketch(rows, mean, deviation) for rows in torch.split(hidden, part, dim=1)], dim=1)


@dataclass
class _Drained:
    """What one step left behind, on its way to the host."""

    planned: Sequence[PlannedPosition]
    rows: Tensor
    arrived: Any


class StepCapture:
    """Plans, drains and keeps the captures of one model runner."""

    def __init__(self, tap: Tap, mean: Tensor, deviation: Tensor) -> None:
        self._tap = tap
        device = tap.buffer.device
        self._mean = mean.unsqueeze(1).to(device)
        self._deviation = deviation.unsqueeze(1).to(device)
        self._planned: list[PlannedPosition] = []
        self._in_flight: list[_Drained] = []
        self.store = CaptureStore()
        self.enabled = True

    def begin_step(self, scheduler_output: Any) -> None:
        """Learn of new and finished requests."""
        for new in scheduler_output.scheduled_new_reqs:
            extra = (new.sampling_params.extra_args or {}) if new.sampling_params else {}
            if self.enabled:
                prompt_tokens = len(new.prompt_token_ids or ())
                self.store.begin(new.req_id, prompt_tokens, new.num_computed_tokens, extra)
        for internal_id in scheduler_output.finished_req_ids:
            self.store.finish(internal_id)

    def plan(self, batch: Iterable[ScheduledRequest]) -> None:
        """Point the tap at the rows that this batch computes and that are wanted."""
        self._planned = plan_rows(batch, self.store.wanted) if len(self.store) else []
        self._tap.plan([planned.row for planned in self._planned])

    def end_step(self) -> None:
        """Take out of the tap what the step computed; on an accelerator without waiting for it."""
        planned, self._planned = self._planned, []
        if not planned:
            return
        for wants_vectors in (False, True):
            numbers = [
                number
                for number, one in enumerate(planned)
                if self.store.is_replay(one.internal_id) is wants_vectors
            ]
            if numbers:
                self._drain([planned[number] for number in numbers], numbers, wants_vectors)
        self.settle(wait=False)

    def _drain(self, planned: list[PlannedPosition], numbers: list[int], wants_vectors: bool) -> None:
        rows = self._tap.buffer[:, numbers]
        if wants_vectors:
            result = rows.to(torch.bfloat16)
        else:
            result = sketch_rows(rows[1:], self._mean, self._deviation)
        host, arrived = _to_host(result.transpose(0, 1))
        self._in_flight.append(_Drained(planned, host, arrived))

    def settle(self, wait: bool) -> None:
        """Put what has arrived on the host into the store; wait for the rest if asked."""
        while self._in_flight:
            oldest = self._in_flight[0]
            if oldest.arrived is not None:
                if not wait and not oldest.arrived.query():
                    return
                oldest.arrived.synchronize()
            for planned, row in zip(oldest.planned, oldest.rows, strict=True):
                data = row.contiguous().view(torch.uint8).numpy().tobytes()
                self.store.put(planned.internal_id, planned.position, data)
            self._in_flight.pop(0)


def _to_host(values: Tensor) -> tuple[Tensor, Any]:
    """A copy on the host, and the event after which it may be read (None: at once)."""
    if values.device.type == "cpu":
        return values, None
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    event: Any = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return host, event


def _first_runner_batch(runner: Any, num_scheduled: Any) -> Iterable[ScheduledRequest]:
    batch = runner.input_batch
    count = batch.num_reqs
    for internal_id, computed, scheduled in zip(
        batch.req_ids[:count], batch.num_computed_tokens_cpu[:count], num_scheduled, strict=True
    ):
        yield ScheduledRequest(internal_id, int(computed), int(scheduled))


def _second_runner_batch(batch: Any) -> Iterable[ScheduledRequest]:
    for internal_id, computed, scheduled in zip(
        batch.req_ids, batch.num_computed_tokens_np, batch.num_scheduled_tokens, strict=False
    ):
        yield ScheduledRequest(internal_id, int(computed), int(scheduled))


def watch_runner(runner: Any, capture: StepCapture) -> None:
    """Call `capture` around every step of a model runner, of either generation."""
    if hasattr(runner, "_prepare_inputs"):
        prepare: Callable[..., Any] = runner._prepare_inputs

        def watched_prepare(scheduler_output: Any, num_scheduled: Any, *args: Any, **options: Any) -> Any:
            result = prepare(scheduler_output, num_scheduled, *args, **options)
            capture.plan(_first_runner_batch(runner, num_scheduled))
            return result

        runner._prepare_inputs = watched_prepare
    else:
        prepare_batch: Callable[..., Any] = runner.prepare_inputs

        def watched_prepare_batch(*args: Any, **options: Any) -> Any:
            batch = prepare_batch(*args, **options)
            capture.plan(_second_runner_batch(batch))
            return batch

        runner.prepare_inputs = watched_prepare_batch
    execute: Callable[..., Any] = runner.execute_model

    def watched_execute(scheduler_output: Any, *args: Any, **options: Any) -> Any:
        capture.begin_step(scheduler_output)
        result = execute(scheduler_output, *args, **options)
        capture.end_step()
        return result

    runner.execute_model = watched_execute


class CaptureWorkerExtension:
    """Methods that `EngineCapture` calls on every worker.

    Tensor-parallel ranks all have the same residual stream. Only the first keeps it; the others carry the
    same operator, because ranks whose compiled graphs differ could fuse their collectives differently.
    """

    def constantinople_install(self, calibration_file: str) -> tuple[int, int] | str:
        """(num_layers, hidden_size), or in words why this engine can't be captured."""
        worker: Any = self
        try:
            tap = _usable_tap(worker.vllm_config)
            calibration = read_calibration(Path(calibration_file))
            _check_shapes(tap, calibration.header.num_layers, calibration.header.hidden_size)
            check_sampling_config(worker.vllm_config)
            install_noise(worker.model_runner)
        except ModelError as error:
            return str(error)
        if worker.rank == 0 and getattr(worker, "_constantinople", None) is None:
            capture = StepCapture(tap, calibration.mean, calibration.deviation)
            watch_runner(worker.model_runner, capture)
            worker._constantinople = capture
        return tap.num_layers, tap.hidden_size

    def constantinople_collect(self, request_id: str) -> list[tuple[int, int, list[int], bytes]] | None:
        """(choice, cached tokens, positions, sketches) of each choice; removes them."""
        capture = self._capture()
        if capture is None:
            return None
        capture.settle(wait=True)
        collected = []
        for tracked in capture.store.take_choices(request_id):
            assert tracked.name is not None
            positions = sorted(tracked.rows)
            sketches = b"".join(tracked.rows[position] for position in positions)
            collected.append((tracked.name.choice, tracked.cached_tokens, positions, sketches))
        return collected

    def constantinople_replayed(self, replay_id: str) -> list[tuple[int, bytes]] | None:
        """(position, vectors of all layers from 0) of a finished replay; removes it."""
        capture = self._capture()
        if capture is None:
            return None
        capture.settle(wait=True)
        tracked = capture.store.take_replay(replay_id)
        return sorted(tracked.rows.items()) if tracked else []

    def constantinople_size(self) -> tuple[int, int] | None:
        """(requests, bytes) that are held."""
        capture = self._capture()
        return None if capture is None else (len(capture.store), capture.store.size_bytes)

    def constantinople_enable(self, enabled: bool) -> None:
        """Track new requests, or stop to; for measuring what capture costs."""
        capture = self._capture()
        if capture is not None:
            capture.enabled = enabled

    def _capture(self) -> StepCapture | None:
        worker: Any = self
        capture = getattr(self, "_constantinople", None)
        if capture is None and worker.rank == 0:
            raise RuntimeError("constantinople_install must be called first")
        return capture


def _usable_tap(vllm_config: Any) -> Tap:
    parallel = vllm_config.parallel_config
    unsupported = {
        "pipeline parallelism; use tensor parallelism": parallel.pipeline_parallel_size > 1,
        "data parallelism; run one miner per engine": parallel.data_parallel_size > 1,
        "prefill context parallelism; leave it off": parallel.prefill_context_parallel_size > 1,
        "microbatches (--enable-dbo); leave them off": parallel.use_ubatching,
        "speculative decoding; leave it off": vllm_config.speculative_config is not None,
        "--kv-sharing-fast-prefill; leave it off": vllm_config.cache_config.kv_sharing_fast_prefill,
    }
    for reason, present in unsupported.items():
        if present:
            raise ModelError(f"hidden states can't be captured with {reason}")
    tap = current_tap()
    if tap is None:
        architecture = vllm_config.model_config.architecture
        raise ModelError(
            f"{architecture} does not offer vLLM's hidden-state hook (EagleModelMixin), or the plugin "
            "constantinople_capture is not loaded; check VLLM_PLUGINS"
        )
    return tap


def _check_shapes(tap: Tap, num_layers: int, hidden_size: int) -> None:
    if (tap.num_layers, tap.hidden_size) != (num_layers, hidden_size):
        raise ModelError(
            f"the calibration file is for {num_layers} layers of {hidden_size}, "
            f"the model has {tap.num_layers} of {tap.hidden_size}; name the model's own with --calibration"
        )
