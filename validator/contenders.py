"""The tokens of some rows of logits that a sampler could draw at all, however hot or unfiltered it is."""

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from validator.kept_tokens import Floors
from validator.logit_processing import MASKED, ProcessedLogits
from validator.sampling_rules import SamplingRule

TAIL_SHARE = 0.02
"""Tokens below this share ÷ the size of the vocabulary are no contenders: all of them together are drawn less
often than that."""

BIN = 0.04
"""Where top-p cuts is found to this many logits, which is less than their numerical noise."""

MOST_BINS = 500


@dataclass(frozen=True)
class Contenders:
    """Tokens, row by row: tensors of one length.

    Attributes:
        count: number of rows, some of which may have no contender.
        rows: the row of each token, rising.
        logits: processed, before temperature.
        raw: before penalties.
        best: the largest processed logit of each row, [count].
        last_kept: the top_k-th largest, −inf without top-k, [count].
    """

    count: int
    rows: Tensor
    tokens: Tensor
    logits: Tensor
    raw: Tensor
    best: Tensor
    last_kept: Tensor

    @classmethod
    def of(cls, processed: ProcessedLogits, floors: Floors, hottest: float) -> "Contenders":
        """The tokens that are drawn at temperatures up to `hottest`, but for TAIL_SHARE of draws."""
        logits = processed.logits
        lowest = (logits / hottest).logsumexp(dim=1) + math.log(TAIL_SHARE / logits.shape[1])
        near = (logits > (lowest * hottest).unsqueeze(1)) & (logits > MASKED)
        rows, tokens = near.nonzero(as_tuple=True)
        found = logits[rows, tokens]
        penalised = processed.penalties is not None
        raw = processed.penalties_of(rows, tokens).removed(found) if penalised else found
        return cls(len(logits), rows, tokens, found, raw, floors.best, floors.last_kept)

    def only(self, chosen: Tensor) -> "Contenders":
        """Some of the tokens, by mask or by number, rising; they keep their rows."""
        rows, tokens = self.rows[chosen], self.tokens[chosen]
        return replace(self, rows=rows, tokens=tokens, logits=self.logits[chosen], raw=self.raw[chosen])

    def tops(self) -> Tensor:
        """Numbers of the tokens with the best logit of their rows, of several equal ones all."""
        return (self.logits == self.best[self.rows]).nonzero().squeeze(1)

    def places(self, tokens: Tensor) -> Tensor:
        """Where one token of each row stands, or −1: int64 [count] from [count]."""
        places = torch.full((self.count,), -1, device=self.rows.device)
        same = self.tokens == tokens[self.rows]
        places[self.rows[same]] = same.nonzero().squeeze(1)
        return places

    def largest(self, values: Tensor) -> Tensor:
        """The largest of each row's values: [count], −inf where a row has none."""
        return values.new_full((self.count,), MASKED).scatter_reduce(0, self.rows, values, "amax")

    def total(self, values: Tensor) -> Tensor:
        """The sum of each row's values: [count]."""
        return values.new_zeros(self.count).scatter_add_(0, self.rows, values)

    def lowest_kept(self, rule: SamplingRule, temperature: float) -> Tensor:
        """The logit from which on the rule's filters keep tokens: [count].

        Args:
            temperature: above 0, at which min-p and top-p take probabilities.
        """
        lowest = self.last_kept
        if rule.min_p:
            lowest = torch.maximum(lowest, self.best + temperature * math.log(rule.min_p))
        if rule.top_p == 1:
            return lowest
        counts = self._counts
        depth = torch.arange(counts.shape[1], device=counts.device) * BIN
        kept = self.best.unsqueeze(1) - depth >= lowest.unsqueeze(1) - BIN
        weights = torch.where(kept, counts * (-depth / temperature).exp(), 0.0)
        before = weights.cumsum(dim=1) - weights
        inside = before < rule.top_p * weights.sum(dim=1, keepdim=True)
        return torch.maximum(lowest, self.best - inside.sum(dim=1) * BIN)

    @cached_property
    def _counts(self) -> Tensor:
        """How many tokens of each row lie in each step of BIN logits below its best: [count, bins]."""
        depth = ((self.best[self.rows] - self.logits) / BIN).long().clamp_(0, MOST_BINS - 1)
        flat = self.rows * MOST_BINS + depth
        return torch.bincount(flat, minlength=self.count * MOST_BINS).view(self.count, MOST_BINS)
