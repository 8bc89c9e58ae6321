"""The reference: the same model in transformers, prefill only, stopping after the deepest layer needed.

float32 on a CPU: it judges bfloat16 engines better than bfloat16 does. Layer i is the raw residual stream
after i decoder layers, read with forward hooks, because the last entry of transformers'
`output_hidden_states` is normalised.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from shared.errors import ModelError


class _DeepEnough(Exception):
    """Ends a forward pass once the deepest wanted layer is read."""


class ReferenceModel:
    """A decoder-only model that is asked for hidden states; not thread-safe, one pass at a time."""

    def __init__(self, model: Any, device: torch.device) -> None:
        self._trunk: nn.Module = model.get_decoder()
        self._layers: Sequence[nn.Module] = list(model.get_decoder().layers)
        self._device = device
        self.vocabulary_size = int(model.config.vocab_size)
        self.hidden_size = int(model.config.hidden_size)

    @classmethod
    def load(cls, model: str, device: str = "cpu", dtype: torch.dtype = torch.float32) -> "ReferenceModel":
        """Load a local folder or a hub id.

        Raises:
            ModelError: the model can't be loaded, with the library's reason.
        """
        try:
            loaded = AutoModelForCausalLM.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"the reference model {model} can't be loaded: {error}") from None
        return cls(loaded.to(device).eval(), torch.device(device))

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    @staticmethod
    def describe(device: str, dtype: torch.dtype) -> str:
        """One line that names library, versions, dtype and device."""
        name = str(dtype).removeprefix("torch.")
        return f"transformers {transformers.__version__}, torch {torch.__version__}, {name} on {device}"

    @torch.inference_mode()
    def hidden_states(
        self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]
    ) -> dict[int, Tensor]:
        """Hidden states of one sequence in one pass.

        Args:
            token_ids: the whole sequence; only the part up to the last wanted position is computed.
            points: wanted positions by layer (0 = the embedding's output).

        Returns:
            by layer, float32 [number of positions, hidden_size] on the CPU, in the given order.

        Raises:
            ValueError: a layer, position or token id does not exist in this model or sequence.
        """
        self._check(token_ids, points)
        last = max(position for positions in points.values() for position in positions)
        taken: dict[int, Tensor] = {}
        with self._taking(points, taken), suppress(_DeepEnough):
            self._trunk(self._tensor(token_ids[: last + 1]), use_cache=False)
        return taken

    def _tensor(self, token_ids: Sequence[int]) -> Tensor:
        return torch.tensor([list(token_ids)], dtype=torch.long, device=self._device)

    @contextmanager
    def _taking(self, points: Mapping[int, Sequence[int]], taken: dict[int, Tensor]) -> Iterator[None]:
        deepest = max(points)

        def take(layer: int, hidden: Tensor) -> None:
            if layer in points:
                taken[layer] = hidden[0, list(points[layer])].to(torch.float32).cpu()
            if layer == deepest:
                raise _DeepEnough

        def before(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
            take(0, args[0] if args else kwargs["hidden_states"])

        handles = [self._layers[0].register_forward_pre_hook(before, with_kwargs=True)]
        for number, layer in enumerate(self._layers[:deepest], start=1):
            handles.append(layer.register_forward_hook(_after(number, take)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _check(self, token_ids: Sequence[int], points: Mapping[int, Sequence[int]]) -> None:
        if not points or not all(points.values()):
            raise ValueError("no point was asked for")
        for layer, positions in points.items():
            if not 0 <= layer <= self.num_layers:
                raise ValueError(f"layer {layer} does not exist; the model has {self.num_layers}")
            if not all(0 <= position < len(token_ids) for position in positions):
                raise ValueError(f"a position of {list(positions)} is outside {len(token_ids)} tokens")
        if not all(0 <= token < self.vocabulary_size for token in token_ids):
            raise ValueError(f"a token id is outside the vocabulary of {self.vocabulary_size}")


_Output = Tensor | tuple[Tensor, ...]


def _after(number: int, take: Callable[[int, Tensor], None]) -> Callable[[nn.Module, object, _Output], None]:
    def hook(_: nn.Module, args: object, output: _Output) -> None:
        take(number, output[0] if isinstance(output, tuple) else output)

    return hook
