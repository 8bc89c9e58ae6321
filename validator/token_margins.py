"""How far emitted tokens are from being the ones that the sampler would have drawn.

The margin of a token is the smallest ε ≥ 0, in logits, such that the model's own logits, each changed by at
most ε, make it the drawn token: argmax over the kept tokens of processed logit / temperature + noise. It is
0 for what the reference draws itself, as small as the miner's numerical noise for an honest miner, and large
for another model, seed or temperature and for edited texts.

A rival, a token that scores higher, must be beaten or dropped: beating one takes half the gap of the scores,
times the temperature; dropping one, or keeping the emitted token, takes moving it across the threshold of
min-p, top-k or top-p (`validator/kept_tokens.py`). Each of these conditions is met by the changes that suit
it best, and the margin is the largest of what they need: never more than the smallest ε, and equal to it
where one condition decides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.errors import ModelError
from shared.sampling_noise import gumbel_noise_at
from validator.kept_tokens import KeptTokens
from validator.logit_processing import MASKED, LogitProcessing, ProcessedLogits
from validator.margin_search import MARGIN_CAP, ScoredTokens, Undecided, search_margins
from validator.sampling_rules import SamplingRule

LARGEST_NOISE = 33 * math.log(2.0)
"""−ln of the smallest uniform number, 2⁻³³ (`shared/sampling_noise.py`)."""

_WAITING_ROWS = 64
"""Rows that are searched together at most: they take as much memory as a block of logits."""


@dataclass(frozen=True)
class _Rivals:
    """Tokens that score higher than the emitted one; tensors of one length."""

    rows: Tensor
    tokens: Tensor
    noise: Tensor


class TokenMargins:
    """The margins of one choice's output tokens, from blocks of the reference's logits.

    Attributes:
        first_position, last_position: the inputs whose logits are wanted, both included.
    """

    def __init__(
        self, rule: SamplingRule, prompt_ids: Sequence[int], output_ids: Sequence[int], choice: int = 0
    ) -> None:
        self._rule = rule
        self._temperature = 1.0 if rule.greedy else rule.temperature
        self._seed = rule.seed_of(choice)
        self._emitted = torch.tensor(list(output_ids), dtype=torch.int64)
        self._processing = LogitProcessing(rule, prompt_ids, output_ids)
        self._margins = torch.full((len(output_ids),), math.nan)
        self._waiting: list[Undecided] = []
        self.first_position = len(prompt_ids) - 1
        self.last_position = len(prompt_ids) + len(output_ids) - 2

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
        best = processed.logits.amax(dim=1)
        if bool(best.isnan().any()):
            raise ModelError(
                f"the reference model's logits from position {first_position} on are not numbers"
            )
        emitted, known = self._scored_emitted(processed, outputs)
        void = best == MASKED
        impossible = ~void & (~known | (emitted.logits == MASKED))
        self._margins[outputs.cpu()] = torch.where(impossible, MARGIN_CAP, 0.0).cpu()
        self._compare(processed, outputs, emitted, ~(void | impossible))

    def margins(self) -> Tensor:
        """The margin of every output token, float32 [outputs] on the CPU.

        Raises:
            ValueError: logits of some outputs were not read.
        """
        self._search()
        if bool(self._margins.isnan().any()):
            raise ValueError("not all logits of the outputs were read")
        return self._margins.clone()

    def _scored_emitted(self, processed: ProcessedLogits, outputs: Tensor) -> tuple[ScoredTokens, Tensor]:
        """The emitted tokens, and whether the vocabulary has them."""
        tokens = self._emitted[outputs.cpu()].to(outputs.device)
        known = (tokens >= 0) & (tokens < processed.logits.shape[1])
        tokens = torch.where(known, tokens, 0)
        rows = torch.arange(len(tokens), device=tokens.device)
        return self._scored(processed, rows, tokens, self._noise_at(outputs, tokens)), known

    def _scored(
        self, processed: ProcessedLogits, rows: Tensor, tokens: Tensor, noise: Tensor
    ) -> ScoredTokens:
        return ScoredTokens(processed.logits[rows, tokens], noise, processed.penalties_of(rows, tokens))

    def _compare(
        self, processed: ProcessedLogits, outputs: Tensor, emitted: ScoredTokens, possible: Tensor
    ) -> None:
        """Sort out the rows whose token the reference draws too; the others wait for the search."""
        logits = processed.logits
        kept = KeptTokens(logits, self._rule)
        scores = emitted.logits / self._temperature + emitted.noise
        rivals = self._rivals(logits, outputs, kept.certainly_dropped(), scores)
        best_rival = torch.full_like(scores, MASKED)
        best_rival.scatter_reduce_(0, rivals.rows, logits[rivals.rows, rivals.tokens], "amax")
        drawn = kept.keeps(emitted.logits) & ((best_rival == MASKED) | ~kept.keeps(best_rival))
        undecided = possible & ~drawn
        if not bool(undecided.any()):
            return
        if sum(len(waiting.outputs) for waiting in self._waiting) + int(undecided.sum()) > _WAITING_ROWS:
            self._search()
        scored = self._scored(processed, rivals.rows, rivals.tokens, rivals.noise)
        everything = Undecided(
            outputs=outputs,
            logits=logits if self._rule.top_p < 1 else logits[:, :0],
            floors=kept.floors,
            emitted=emitted,
            rival_rows=rivals.rows,
            rivals=scored,
        )
        self._waiting.append(everything.only(undecided))

    def _rivals(self, logits: Tensor, outputs: Tensor, dropped: Tensor, scores: Tensor) -> _Rivals:
        """Tokens above `dropped` that score higher than `scores`, both [rows]."""
        reach = 0.0 if self._rule.greedy else LARGEST_NOISE
        lowest = torch.maximum(dropped, (scores - reach) * self._temperature)
        able = logits > lowest.unsqueeze(1)
        rows, tokens = able.nonzero(as_tuple=True)
        noise = self._noise_at(outputs[rows], tokens)
        better = logits[rows, tokens] / self._temperature + noise > scores[rows]
        return _Rivals(rows[better], tokens[better], noise[better])

    def _noise_at(self, outputs: Tensor, tokens: Tensor) -> Tensor:
        if self._rule.greedy:
            return torch.zeros(len(tokens), device=tokens.device)
        positions = outputs + self.first_position
        return gumbel_noise_at(torch.full_like(positions, self._seed), positions, tokens)

    def _search(self) -> None:
        if self._waiting:
            undecided = Undecided.joined(self._waiting)
            self._waiting = []
            found = search_margins(undecided, self._rule, self._processing.steepest)
            self._margins[undecided.outputs.cpu()] = found.cpu()
