"""The reference's logits: final states of a few positions in, blocks of rows out, never the whole matrix."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BLOCK_ROWS = 64
"""Rows handed out at once: 64 × 152,064 float32 logits are 39 MB, and the matrix product is already as fast
per row as with more of them."""

ReadLogits = Callable[[int, Tensor], None]
"""Takes the position of a block's first row, and the block: float32 [at most BLOCK_ROWS, vocabulary size] on
the model's device, its own to overwrite. Called in order of positions, in the thread that computes."""


@dataclass(frozen=True)
class LogitsRequest:
    """Asks for the logits at the inputs `first` to `last`, both included.

    The row of position p scores the token at p + 1: outputs after a prompt of n tokens that end at position e
    were sampled from the rows n − 1 to e − 1.
    """

    first: int
    last: int
    read: ReadLogits


class LogitsHead:
    """Makes logits of states after the final norm, as vLLM's `LogitsProcessor` does."""

    def __init__(self, model: Any) -> None:
        self._head: nn.Module = model.get_output_embeddings()
        config = model.config.get_text_config()
        self._vocabulary_size = int(config.vocab_size)
        self._soft_cap: float | None = getattr(config, "final_logit_softcapping", None)
        self._scale = _logit_scale(config)

    def hand_out(self, states: Tensor, request: LogitsRequest) -> None:
        """Give `request.read` the logits of `states` [last − first + 1, hidden_size], block by block."""
        for start in range(0, len(states), BLOCK_ROWS):
            request.read(request.first + start, self._logits(states[start : start + BLOCK_ROWS]))

    def _logits(self, states: Tensor) -> Tensor:
        logits: Tensor = self._head(states)[:, : self._vocabulary_size].to(torch.float32)
        if self._soft_cap is not None:
            logits = logits.div_(self._soft_cap).tanh_().mul_(self._soft_cap)
        return logits if self._scale == 1.0 else logits.mul_(self._scale)


def _logit_scale(config: Any) -> float:
    """What vLLM's model files multiply logits with: Cohere's, Granite's and Falcon-H1's names for it."""
    scale = float(getattr(config, "logit_scale", None) or 1.0)
    scale /= float(getattr(config, "logits_scaling", None) or 1.0)
    return scale * float(getattr(config, "lm_head_multiplier", None) or 1.0)
