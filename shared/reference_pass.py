"""One forward pass of the reference over a batch of sequences, with hooks that read the residual stream.

Sequences are padded on the right and need no mask for it: attention is causal, so nothing that is read sees
what stands after it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from shared.prefix_cache import Prefix, TokenIds
from shared.reference_examination import Reading


@dataclass(frozen=True)
class Row:
    """One sequence of a batch: the tokens to compute, and the examinations that read them."""

    token_ids: TokenIds
    readings: Sequence[Reading]

    @property
    def wants_logits(self) -> bool:
        return any(reading.asked.logits is not None for reading in self.readings)

    def after(self, prefix: Prefix | None) -> "Row":
        """The same row without the tokens of a prefix that it begins with."""
        return self if prefix is None else Row(self.token_ids[len(prefix) :], self.readings)

    def give(self, layer: int, hidden: Tensor, start: int) -> None:
        """Let the readings take from one layer's output for this row, [tokens, hidden_size]."""
        for reading in self.readings:
            reading.take(layer, hidden[: len(self.token_ids)], start)

    def give_states(self, states: Tensor, start: int) -> None:
        """Let the readings take from the normed states of this row."""
        for reading in self.readings:
            reading.take_states(states[: len(self.token_ids)], start)


class _DeepEnough(Exception):
    """Ends a forward pass once the deepest wanted layer is read."""


class ReferencePass:
    """Runs a model's trunk; one pass at a time, because hooks hang on the model while it runs.

    Attributes:
        reusable: whether later sequences can go on from a pass's keys and values. A layer that forgets what
            left its window, or keeps a running state, can't be cut back to a shorter prefix.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self._trunk: nn.Module = model.get_decoder()
        self.layers: Sequence[nn.Module] = list(model.get_decoder().layers)
        self._config, self._device = model.config, device
        kinds = [type(layer) for layer in DynamicCache(config=self._config).layers]
        self.reusable = kinds == [DynamicLayer] * len(self.layers)

    def run(self, rows: Sequence[Row], prefix: Prefix | None = None, keep: bool = False) -> list[Prefix]:
        """Compute rows that follow the same prefix, and let their readings take what they want.

        Returns:
            with `keep` each row's keys and values in the layers computed, its prefix's included.
        """
        depth = self._depth(rows)
        start = 0 if prefix is None else len(prefix)
        cache = self._cache(prefix, len(rows), depth) if keep or prefix is not None else None
        with self._hooked(rows, start, depth), suppress(_DeepEnough):
            output = self._trunk(self._padded(rows), past_key_values=cache, use_cache=cache is not None)
            for row, states in zip(rows, output.last_hidden_state, strict=True):
                row.give_states(states, start)
        if not keep or cache is None:
            return []
        return [_kept(row, prefix, cache.layers[:depth], number) for number, row in enumerate(rows)]

    def _depth(self, rows: Sequence[Row]) -> int | None:
        """The layer after which a pass may stop; None when it has to go to the end."""
        if any(row.wants_logits for row in rows):
            return None
        return max(layer for row in rows for reading in row.readings for layer in reading.asked.points)

    def _padded(self, rows: Sequence[Row]) -> Tensor:
        tokens = [torch.from_numpy(row.token_ids) for row in rows]
        return nn.utils.rnn.pad_sequence(tokens, batch_first=True).to(self._device)

    def _cache(self, prefix: Prefix | None, rows: int, depth: int | None) -> DynamicCache:
        cache = DynamicCache(config=self._config)
        known = () if prefix is None else prefix.layers[:depth]
        for layer, (keys, values) in zip(cache.layers, known, strict=False):
            layer.lazy_initialization(keys, values)
            # Views: the layer makes a new tensor when it adds the rows' own keys and values.
            layer.keys, layer.values = (part.expand(rows, -1, -1, -1) for part in (keys, values))
        return cache

    @contextmanager
    def _hooked(self, rows: Sequence[Row], start: int, depth: int | None) -> Iterator[None]:
        def take(layer: int, hidden: Tensor) -> None:
            for row, own in zip(rows, hidden, strict=True):
                row.give(layer, own, start)
            if layer == depth:
                raise _DeepEnough

        def before(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            take(0, args[0] if args else kwargs["hidden_states"])

        handles = [self.layers[0].register_forward_pre_hook(before, with_kwargs=True)]
        for number, layer in enumerate(self.layers[:depth], start=1):
            handles.append(layer.register_forward_hook(_after(number, take)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


_Output = Tensor | tuple[Tensor, ...]


def _after(number: int, take: Callable[[int, Tensor], None]) -> Callable[[nn.Module, object, _Output], None]:
    def hook(_: nn.Module, args: object, output: _Output) -> None:
        take(number, output[0] if isinstance(output, tuple) else output)

    return hook


def _kept(row: Row, prefix: Prefix | None, layers: Sequence[DynamicLayer], number: int) -> Prefix:
    """One row's keys and values, copied out of the batch and without its padding."""
    token_ids = row.token_ids if prefix is None else np.concatenate([prefix.token_ids, row.token_ids])
    own, tokens = slice(number, number + 1), len(token_ids)
    states = [
        (layer.keys[own, :, :tokens].clone(), layer.values[own, :, :tokens].clone()) for layer in layers
    ]
    return Prefix(token_ids, states)
