"""One choice's output tokens, held against the reference's logits as these come in.

The reference reads prompt and output in one pass and hands out the logits of every output's row, block by
block; each block is processed once, and both the margins and the likelihoods are taken from it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from shared.errors import ModelError
from validator.kept_tokens import KeptTokens
from validator.logit_processing import LogitProcessing
from validator.sampler_alternatives import Alternative
from validator.sampling_rules import SamplingRule
from validator.token_likelihoods import TokenLikelihoods
from validator.token_margins import TokenMargins


class OutputTokens:
    """Margins and likelihoods of one choice's output tokens.

    Attributes:
        first_position, last_position: the inputs whose logits are wanted, both included.
    """

    def __init__(
        self, rule: SamplingRule, prompt_ids: Sequence[int], output_ids: Sequence[int], choice: int = 0
    ) -> None:
        self.first_position = len(prompt_ids) - 1
        self.last_position = len(prompt_ids) + len(output_ids) - 2
        self._rule = rule
        self._processing = LogitProcessing(rule, prompt_ids, output_ids)
        emitted, seed = torch.tensor(list(output_ids), dtype=torch.int64), rule.seed_of(choice)
        self._margins = TokenMargins(rule, emitted, seed, self.first_position, self._processing.steepest)
        self._likelihoods = TokenLikelihoods(rule, emitted, seed, self.first_position)

    def read(self, first_position: int, logits: Tensor) -> None:
        """Take the logits of consecutive inputs, `first_position` the first of them.

        Args:
            logits: float32 [rows, vocabulary_size] on any device; overwritten.

        Raises:
            ModelError: the logits are not numbers.
        """
        first = first_position - self.first_position
        outputs = torch.arange(first, first + len(logits), device=logits.device)
        processed = self._processing.apply(first, logits)
        kept = KeptTokens(processed.logits, self._rule)
        if bool(kept.floors.best.isnan().any()):
            raise ModelError(
                f"the reference model's logits from position {first_position} on are not numbers"
            )
        self._margins.read(processed, kept, outputs)
        self._likelihoods.read(processed, kept, outputs)

    def margins(self) -> Tensor:
        """The margin of every output token, float32 [outputs] on the CPU.

        Raises:
            ValueError: logits of some outputs were not read.
        """
        return self._margins.margins()

    @property
    def alternatives(self) -> tuple[Alternative, ...]:
        """What else the tokens are held against."""
        return self._likelihoods.alternatives

    def log_likelihoods(self) -> tuple[float, ...]:
        """The logarithm of the probability of all tokens together, by alternative.

        Raises:
            ValueError: logits of some outputs were not read.
        """
        return self._likelihoods.totals()

    def leads(self) -> Tensor:
        """How far what the reference draws is from losing, in logits: float32 [outputs] on the CPU.

        Raises:
            ValueError: logits of some outputs were not read.
        """
        return self._likelihoods.leads()
