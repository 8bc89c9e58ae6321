"""The tap: copies chosen rows of the residual stream out of vLLM's forward pass.

vLLM's decoder models call `EagleModelMixin._maybe_add_hidden_state` before layer 0 and after every layer,
inside the compiled graph. There a custom op, opaque to the compiler, copies the rows that this step wants
into a static buffer. Every address is fixed, so the op can be part of a CUDA graph. A graph replays without
Python: there the op copies as many rows as the graph has tokens, and rows that nobody planned copy row 0.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.library import Library

from shared.committed_positions import PROMPT_TAIL_DRAWS, STRATUM_TOKENS

REPLAY_ROWS = 64
"""Rows kept free for replays: two at a time with 16 points each, and as many again."""

_HOOK = "_maybe_add_hidden_state"


def row_capacity(max_batched_tokens: int, max_requests: int) -> int:
    """Rows that one step can want at most, so that no committed position is ever dropped.

    n consecutive positions touch fewer than n / 16 + 2 strata, and hold at most 4 draws of a prompt's tail.
    """
    strata = -(-max_batched_tokens // STRATUM_TOKENS) + 2 * max_requests
    return min(max_batched_tokens, strata + PROMPT_TAIL_DRAWS * max_requests + REPLAY_ROWS)


@dataclass
class Tap:
    """The static buffers of one model, and how many of their rows this step uses.

    Attributes:
        buffer: [num_layers + 1, capacity, hidden_size] in the model's dtype; layer 0 is the embedding.
        rows: int64 [capacity]; row numbers in the step's flattened batch.
        wanted: rows in use.
    """

    buffer: Tensor
    rows: Tensor
    wanted: int = 0

    @property
    def num_layers(self) -> int:
        return int(self.buffer.shape[0]) - 1

    @property
    def hidden_size(self) -> int:
        return int(self.buffer.shape[2])

    @property
    def capacity(self) -> int:
        return int(self.rows.numel())

    def plan(self, rows: list[int]) -> None:
        """Choose the rows of the next forward pass.

        Rows of an earlier, larger batch must not stay behind: they would lie outside the next one.

        Raises:
            ValueError: more rows than the buffer holds.
        """
        if len(rows) > self.capacity:
            raise ValueError(f"{len(rows)} rows are wanted, the capture buffer holds {self.capacity}")
        if self.wanted:
            self.rows.zero_()
        self.wanted = len(rows)
        if rows:
            self.rows[: len(rows)].copy_(torch.tensor(rows, dtype=torch.int64), non_blocking=True)


class _Current:
    """The tap of this process's model: one model is served per engine."""

    tap: Tap | None = None


def current_tap() -> Tap | None:
    """The tap of the model that this process loaded, or None when nothing is tapped."""
    return _Current.tap


def rows_to_copy(recording: bool, tap: Tap | None, batch_tokens: int, capacity: int) -> int:
    """Rows that a pass copies: those planned; while a CUDA graph is recorded, as many as can be planned."""
    if recording:
        return min(batch_tokens, capacity)
    return tap.wanted if tap else 0


def _capture(hidden: Tensor, residual: Tensor | None, buffer: Tensor, rows: Tensor, layer: int) -> None:
    recording = hidden.is_cuda and torch.cuda.is_current_stream_capturing()
    count = rows_to_copy(recording, _Current.tap, len(hidden), len(rows))
    if count == 0:
        return
    chosen, out = rows[:count], buffer[layer, :count]
    if residual is None:
        torch.index_select(hidden, 0, chosen, out=out)
    else:
        torch.add(hidden.index_select(0, chosen), residual.index_select(0, chosen), out=out)


def _capture_shape(hidden: Tensor, residual: Tensor | None, buffer: Tensor, rows: Tensor, layer: int) -> None:
    return None


_libraries: list[Library] = []
"""An operator exists as long as its library is referenced."""


def define_operator() -> None:
    """Define `constantinople::capture`, once a process."""
    if _libraries:
        return
    library = Library("constantinople", "FRAGMENT")
    library.define(
        "capture(Tensor hidden, Tensor? residual, Tensor(a!) buffer, Tensor rows, int layer) -> ()"
    )
    library.impl("capture", _capture, "CompositeExplicitAutograd")
    library._register_fake("capture", _capture_shape)
    _libraries.append(library)


def _recorded(hidden: Tensor) -> bool:
    """Whether a compiler or a CUDA graph may be recording this call, so that it must be the operator."""
    return torch.compiler.is_compiling() or hidden.is_cuda


def wrap_hook(mixin: type[Any]) -> None:
    """Make the mixin's hook capture as well, for every model that owns capture buffers.

    What nobody records needs no operator: a step that wants nothing costs a comparison a layer.
    """
    original: Callable[..., list[Tensor]] = getattr(mixin, _HOOK)

    @functools.wraps(original)
    def hook(
        self: Any, collected: list[Tensor], layer: int, hidden: Tensor, residual: Tensor | None
    ) -> list[Tensor]:
        if getattr(self, "capture_buffer", None) is not None:
            if _recorded(hidden):
                operator = torch.ops.constantinople.capture
                operator(hidden, residual, self.capture_buffer, self.capture_rows, layer)
            elif _Current.tap is not None and _Current.tap.wanted:
                _capture(hidden, residual, self.capture_buffer, self.capture_rows, layer)
        return original(self, collected, layer, hidden, residual)

    setattr(mixin, _HOOK, hook)


def attach_tap(model: nn.Module, mixin: type[Any], vllm_config: Any) -> Tap | None:
    """Give the model's trunk its buffers; None when no part of the model has the hook.

    Bytes: (num_layers + 1) · capacity · hidden_size · 2. The 7B model with 2,048 batched tokens and 256
    requests: 29 · 1,728 · 3,584 · 2 = 359 MB; with 8,192 and 1,024: 1.4 GB, and fewer with a smaller
    `--max-num-seqs`. SmolLM2-135M with 2,048 and 16: 31 · 288 · 576 · 2 = 10 MB.
    """
    trunk = next((part for part in model.modules() if isinstance(part, mixin)), None)
    if trunk is None:
        return None
    config, scheduler = vllm_config.model_config, vllm_config.scheduler_config
    layers, hidden_size = config.get_total_num_hidden_layers(), config.get_hidden_size()
    capacity = row_capacity(scheduler.max_num_batched_tokens, scheduler.max_num_seqs)
    device = next(model.parameters()).device
    shape = (layers + 1, capacity, hidden_size)
    trunk.register_buffer(
        "capture_buffer", torch.zeros(shape, dtype=config.dtype, device=device), persistent=False
    )
    trunk.register_buffer(
        "capture_rows", torch.zeros(capacity, dtype=torch.int64, device=device), persistent=False
    )
    _Current.tap = Tap(trunk.capture_buffer, trunk.capture_rows)
    return _Current.tap
