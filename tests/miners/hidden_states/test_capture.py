"""The tap on a small model of our own: the operator, its buffers, torch.compile."""

import pytest
import torch
from torch import Tensor, nn

from miners.hidden_states import capture as tapping
from miners.hidden_states.capture import Tap, attach_tap, define_operator, rows_to_copy, wrap_hook

LAYERS, HIDDEN, TOKENS = 3, 8, 12


class Hooked:
    """Stands where vLLM's mixin stands."""

    def _maybe_add_hidden_state(
        self, collected: list[Tensor], layer: int, hidden: Tensor, residual: Tensor | None
    ) -> list[Tensor]:
        return collected


class Trunk(nn.Module, Hooked):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(HIDDEN, HIDDEN) for _ in range(LAYERS)])

    def forward(self, hidden: Tensor) -> Tensor:
        residual: Tensor | None = None
        self._maybe_add_hidden_state([], 0, hidden, residual)
        for number, layer in enumerate(self.layers, start=1):
            residual = hidden if residual is None else hidden + residual
            hidden = layer(residual)
            self._maybe_add_hidden_state([], number, hidden, residual)
        assert residual is not None
        return hidden + residual

    def expected(self, hidden: Tensor) -> Tensor:
        """The residual stream after 0 … LAYERS layers: [LAYERS + 1, tokens, HIDDEN]."""
        streams = [hidden]
        for layer in self.layers:
            streams.append(layer(streams[-1]) + streams[-1])
        return torch.stack(streams)


class Sizes:
    """The four numbers of vLLM's configuration that size the buffers."""

    def __init__(self, tokens: int, requests: int) -> None:
        self.model_config = self.scheduler_config = self
        self.max_num_batched_tokens, self.max_num_seqs = tokens, requests
        self.dtype = torch.float32

    def get_total_num_hidden_layers(self) -> int:
        return LAYERS

    def get_hidden_size(self) -> int:
        return HIDDEN


@pytest.fixture(scope="module", autouse=True)
def operator() -> None:
    define_operator()
    wrap_hook(Hooked)


@pytest.fixture
def trunk(monkeypatch: pytest.MonkeyPatch) -> Trunk:
    monkeypatch.setattr(tapping._Current, "tap", None)
    torch.manual_seed(0)
    built = Trunk()
    assert attach_tap(nn.Sequential(built), Hooked, Sizes(TOKENS, 4)) is not None
    return built


def tap_of(trunk: Trunk) -> Tap:
    tap = tapping.current_tap()
    assert tap is not None
    assert tap.buffer is trunk.capture_buffer
    return tap


@torch.no_grad()
def test_the_planned_rows_of_every_layer_are_copied(trunk: Trunk) -> None:
    tap, hidden = tap_of(trunk), torch.randn(TOKENS, HIDDEN)
    tap.plan([2, 11, 5])
    trunk(hidden)
    assert torch.allclose(tap.buffer[:, :3], trunk.expected(hidden)[:, [2, 11, 5]], atol=1e-6)


@torch.no_grad()
def test_nothing_is_copied_when_nothing_is_planned(trunk: Trunk) -> None:
    tap = tap_of(trunk)
    tap.plan([])
    trunk(torch.randn(TOKENS, HIDDEN))
    assert not tap.buffer.any()


@torch.no_grad()
def test_rows_of_an_earlier_larger_batch_do_not_reach_into_a_smaller_one(trunk: Trunk) -> None:
    tap = tap_of(trunk)
    tap.plan([11, 10, 9])
    trunk(torch.randn(TOKENS, HIDDEN))
    tap.plan([1])
    assert tap.rows.tolist()[:3] == [1, 0, 0]
    trunk(torch.randn(2, HIDDEN))
    tap.plan([])
    assert not tap.rows.any()


@torch.no_grad()
def test_the_tap_does_not_change_what_the_model_computes(trunk: Trunk) -> None:
    hidden = torch.randn(TOKENS, HIDDEN)
    tap_of(trunk).plan([3])
    tapped = trunk(hidden)
    assert torch.allclose(tapped, trunk.expected(hidden)[-1], atol=1e-6)


@torch.no_grad()
def test_a_compiled_model_still_copies_each_steps_rows(trunk: Trunk) -> None:
    tap, compiled = tap_of(trunk), torch.compile(trunk, backend="aot_eager", fullgraph=True, dynamic=True)
    for rows, tokens in (([], 6), ([0, 3], 4), ([7], 8), ([4, 1, 2], 5)):
        hidden = torch.randn(tokens, HIDDEN)
        tap.plan(rows)
        compiled(hidden)
        assert torch.allclose(tap.buffer[:, : len(rows)], trunk.expected(hidden)[:, rows], atol=1e-6)


def test_more_rows_than_the_buffer_holds_are_refused_in_words(trunk: Trunk) -> None:
    tap = tap_of(trunk)
    with pytest.raises(ValueError, match="the capture buffer holds"):
        tap.plan(list(range(tap.capacity + 1)))


def test_a_recorded_graph_copies_as_many_rows_as_it_has_tokens(trunk: Trunk) -> None:
    tap = tap_of(trunk)
    tap.plan([1])
    assert rows_to_copy(True, tap, batch_tokens=4, capacity=tap.capacity) == 4
    assert rows_to_copy(True, tap, batch_tokens=512, capacity=tap.capacity) == tap.capacity
    assert rows_to_copy(False, tap, batch_tokens=512, capacity=tap.capacity) == 1
    assert rows_to_copy(False, None, batch_tokens=512, capacity=tap.capacity) == 0


def test_a_model_without_the_hook_gets_no_tap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapping._Current, "tap", None)
    assert attach_tap(nn.Linear(2, 2), Hooked, Sizes(TOKENS, 4)) is None
    assert tapping.current_tap() is None
