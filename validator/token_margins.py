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
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.sampling_noise import gumbel_noise_at, large_noise_at
from validator.kept_tokens import KeptTokens
from validator.logit_processing import MASKED, ProcessedLogits
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
    """The margins of one choice's output tokens, from blocks of processed logits.

    Args:
        emitted: the output tokens, int64 [outputs].
        seed: the choice's own.
        first_position: the input whose logits the first output was drawn from.
        steepest: the most that a processed logit moves when the model's own moves by 1.
    """

    def __init__(
        self, rule: SamplingRule, emitted: Tensor, seed: int, first_position: int, steepest: float
    ) -> None:
        self._rule, self._emitted, self._seed = rule, emitted, seed
        self._temperature = 1.0 if rule.greedy else rule.temperature
        self._first_position, self._steepest = first_position, steepest
        self._margins = torch.full((len(emitted),), math.nan)
        self._waiting: list[Undecided] = []

    def read(self, processed: ProcessedLogits, kept: KeptTokens, outputs: Tensor) -> None:
        """Take the processed logits of some outputs, int64 [rows], and what is kept of them."""
        emitted, known = self._scored_emitted(processed, outputs)
        void = kept.floors.best == MASKED
        impossible = ~void & (~known | (emitted.logits == MASKED))
        self._margins[outputs.cpu()] = torch.where(impossible, MARGIN_CAP, 0.0).cpu()
        self._compare(processed, kept, outputs, emitted, ~(void | impossible))

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
        return self._scored(processed, rows, tokens, self._noise_of_one(outputs, tokens)), known

    def _scored(
        self, processed: ProcessedLogits, rows: Tensor, tokens: Tensor, noise: Tensor
    ) -> ScoredTokens:
        return ScoredTokens(processed.logits[rows, tokens], noise, processed.penalties_of(rows, tokens))

    def _compare(
        self,
        processed: ProcessedLogits,
        kept: KeptTokens,
        outputs: Tensor,
        emitted: ScoredTokens,
        possible: Tensor,
    ) -> None:
        """Sort out the rows whose token the reference draws too; the others wait for the search."""
        logits = processed.logits
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
        floors = scores[rows] - logits[rows, tokens] / self._temperature
        if self._rule.greedy:
            found, noise = torch.arange(len(rows), device=rows.device), torch.zeros_like(floors)
        else:
            found, noise = large_noise_at(*self._noise_rows(outputs), rows, tokens, floors)
        better = noise > floors[found]
        return _Rivals(rows[found][better], tokens[found][better], noise[better])

    def _noise_of_one(self, outputs: Tensor, tokens: Tensor) -> Tensor:
        """Of one token of each row."""
        if self._rule.greedy:
            return torch.zeros(len(tokens), device=tokens.device)
        rows = torch.arange(len(tokens), device=tokens.device)
        return gumbel_noise_at(*self._noise_rows(outputs), rows, tokens)

    def _noise_rows(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        positions = outputs + self._first_position
        return torch.full_like(positions, self._seed), positions

    def _search(self) -> None:
        if self._waiting:
            undecided = Undecided.joined(self._waiting)
            self._waiting = []
            found = search_margins(undecided, self._rule, self._steepest)
            self._margins[undecided.outputs.cpu()] = found.cpu()
