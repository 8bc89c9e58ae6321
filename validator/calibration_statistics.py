"""Stage one of a calibration: mean and deviation of every dimension of every layer, from the reference."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from shared.errors import ModelError
from shared.reference_model import ReferenceModel
from validator.calibration_prompts import Chat

FIRST_COUNTED_POSITION = 1
"""Position 0 is the attention sink (Xiao et al., "Efficient Streaming Language Models with Attention Sinks",
2023): its vector is far longer than any other and depends on the first token alone, so it would
inflate the deviation of exactly those dimensions in which it lies. It is left out here, and
`validator.challenge_selection` draws it only when nothing else is committed."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Statistics:
    """Per-dimension statistics of the residual stream.

    Attributes:
        mean, deviation: float32, [num_layers, hidden_size]; row i is layer i+1.
        tokens: positions that were counted.
        sink_ratio: longest vector at position 0 / mean length elsewhere, over the layers' worst.
    """

    mean: Tensor
    deviation: Tensor
    tokens: int
    sink_ratio: float


class Moments:
    """Running sums in float64, so that the order of the texts does not matter."""

    def __init__(self, num_layers: int, hidden_size: int) -> None:
        self._sum = torch.zeros(num_layers, hidden_size, dtype=torch.float64)
        self._squares = torch.zeros_like(self._sum)
        self.count = 0

    def add(self, hidden: Tensor) -> None:
        """Count vectors of shape [num_layers, positions, hidden_size]."""
        values = hidden.to(torch.float64)
        self._sum += values.sum(1)
        self._squares += values.square().sum(1)
        self.count += hidden.shape[1]

    def result(self) -> tuple[Tensor, Tensor]:
        """(mean, deviation), float32, [num_layers, hidden_size].

        Raises:
            ModelError: fewer than two vectors were counted, or one of them was not finite.
        """
        if self.count < 2:
            raise ModelError("the calibration texts have fewer than two positions to measure")
        mean = self._sum / self.count
        deviation = (self._squares / self.count - mean.square()).clamp_min(0).sqrt()
        if not bool(torch.isfinite(deviation).all()):
            raise ModelError("the reference model computes hidden states that are not finite numbers")
        return mean.to(torch.float32), deviation.to(torch.float32)


def tokenise_chats(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Chat]) -> list[list[int]]:
    """Token ids of whole chats, answers included, through the model's own chat template."""
    return [list(tokenizer.apply_chat_template(chat, return_dict=False)) for chat in chats]


def _sink_ratio(hidden: Tensor) -> float:
    lengths = hidden.norm(dim=-1)
    return float((lengths[:, 0] / lengths[:, FIRST_COUNTED_POSITION:].mean(1)).max())


def measure_statistics(
    reference: ReferenceModel, sequences: Sequence[Sequence[int]], progress: Progress
) -> Statistics:
    """One reference pass over each sequence of token ids.

    Raises:
        ModelError: there is nothing to measure.
    """
    moments = Moments(reference.num_layers, reference.hidden_size)
    ratios = [0.0]
    for number, token_ids in enumerate(sequences, start=1):
        positions = range(len(token_ids))
        layers = range(1, reference.num_layers + 1)
        found = reference.hidden_states(token_ids, dict.fromkeys(layers, positions))
        hidden = torch.stack([found[layer] for layer in layers])
        if len(token_ids) > FIRST_COUNTED_POSITION:
            ratios.append(_sink_ratio(hidden))
            moments.add(hidden[:, FIRST_COUNTED_POSITION:])
        if number % 10 == 0 or number == len(sequences):
            progress(f"statistics: {number} of {len(sequences)} texts, {moments.count} positions")
    mean, deviation = moments.result()
    return Statistics(mean, deviation, moments.count, max(ratios))
