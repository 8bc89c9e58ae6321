"""Which tokens min-p, top-k and top-p keep, and how far a token is from the other side.

All three keep the tokens whose logits are above a threshold, and min-p and top-k come before top-p, whose
probabilities are those of the tokens that they keep (vLLM: `v1/sample/ops/topk_topp_sampler.py`,
`v1/worker/gpu/sample/min_p.py`). Top-p drops a token when the tokens above it already have probability p.

"Could be" means: if every processed logit moved by at most `reach`, and the other tokens as suits this one
best. Each token is judged for itself, so the smallest such reach is a lower bound of what suits several.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.sampling_rules import SamplingRule


@dataclass(frozen=True)
class Floors:
    """Thresholds of min-p and top-k, in logits before temperature; float32 [rows] each.

    Attributes:
        best, second: the largest logits.
        last_kept, first_dropped: the top_k-th largest logit and the next; −inf without top-k.
        spread: a number, how far below the best logit min-p keeps; infinite without min-p.
    """

    best: Tensor
    second: Tensor
    last_kept: Tensor
    first_dropped: Tensor
    spread: float

    @classmethod
    def of(cls, logits: Tensor, rule: SamplingRule) -> "Floors":
        """The floors of float32 [rows, vocabulary_size]."""
        top_k = rule.top_k if rule.top_k < logits.shape[1] else 0
        needed = max(top_k + 1, 2 if rule.min_p else 1)
        top = logits.topk(needed, dim=1).values if needed > 1 else logits.amax(dim=1, keepdim=True)
        none = torch.full_like(top[:, 0], -math.inf)
        return cls(
            best=top[:, 0],
            second=top[:, 1] if needed > 1 else none,
            last_kept=top[:, top_k - 1] if top_k else none,
            first_dropped=top[:, top_k] if top_k else none,
            spread=-rule.temperature * math.log(rule.min_p) if rule.min_p else math.inf,
        )

    @property
    def lowest(self) -> Tensor:
        """The smallest logit that is kept."""
        return torch.maximum(self.last_kept, self.best - self.spread)

    def lowest_without(self, logits: Tensor) -> Tensor:
        """The smallest logit that is kept, as the other tokens of each row decide it."""
        best_other = torch.where(logits < self.best, self.best, self.second)
        last_other = torch.where(logits < self.last_kept, self.last_kept, self.first_dropped)
        return torch.maximum(last_other, best_other - self.spread)

    def at(self, rows: Tensor) -> "Floors":
        """Those of some rows."""
        own = (self.best[rows], self.second[rows], self.last_kept[rows], self.first_dropped[rows])
        return Floors(*own, self.spread)

    @staticmethod
    def joined(parts: "Sequence[Floors]") -> "Floors":
        """Those of several groups of rows, one after the other."""
        return Floors(
            best=torch.cat([part.best for part in parts]),
            second=torch.cat([part.second for part in parts]),
            last_kept=torch.cat([part.last_kept for part in parts]),
            first_dropped=torch.cat([part.first_dropped for part in parts]),
            spread=parts[0].spread,
        )


class KeptTokens:
    """What is kept of processed logits, float32 [rows, vocabulary_size]."""

    def __init__(self, logits: Tensor, rule: SamplingRule) -> None:
        self.floors = Floors.of(logits, rule)
        self._logits = logits
        self._rule = rule
        self._weights: Tensor | None = None
        self._total = torch.ones_like(self.floors.best)
        if rule.top_p < 1:
            self._weights = ((logits - self.floors.best.unsqueeze(1)) / rule.temperature).exp_()
            self._total = self._weight(logits >= self.floors.lowest.unsqueeze(1))

    def certainly_dropped(self) -> Tensor:
        """A logit in each row at and below which nothing is kept, cheaply found: float32 [rows].

        Top-p drops what has, with everything below it, no more than 1 − p: so all that is below
        (1 − p) / vocabulary size.
        """
        below_floor = _just_below(self.floors.lowest)
        if self._weights is None:
            return below_floor
        share = self._total * (1 - self._rule.top_p) / self._logits.shape[1]
        return torch.maximum(below_floor, self.floors.best + self._rule.temperature * share.log())

    def keeps(self, logits: Tensor) -> Tensor:
        """Whether a token with this logit in each row is kept: bool [rows] from float32 [rows]."""
        kept = logits >= self.floors.lowest
        if self._weights is None:
            return kept
        return kept & (self._weight(self._logits > logits.unsqueeze(1)) < self._rule.top_p * self._total)

    def _weight(self, chosen: Tensor) -> Tensor:
        """The weight of the chosen tokens [rows, vocabulary_size] of each row, relative to the best."""
        assert self._weights is not None
        return torch.where(chosen, self._weights, 0.0).sum(dim=1)


class KeptBoundary:
    """How far tokens of some rows are from being kept, or dropped.

    Args:
        logits: processed, float32 [rows, vocabulary_size].
    """

    def __init__(self, logits: Tensor, floors: Floors, rule: SamplingRule) -> None:
        self._floors = floors
        self._temperature = rule.temperature
        self._top_p = rule.top_p
        if rule.top_p < 1:
            self._falling = logits.neg().sort(dim=1).values
            # In float64: a far tail that moves far up must not drown in the rounding of the head.
            weights = ((-self._falling - floors.best.unsqueeze(1)).double() / rule.temperature).exp_()
            self._sums = torch.nn.functional.pad(weights.cumsum(dim=1), (1, 0))

    def could_keep(self, logits: Tensor, reach: Tensor) -> Tensor:
        """Whether each row's token could be kept: bool [rows] from float32 [rows]."""
        lowest = self._floors.lowest - 2 * reach
        kept = logits >= lowest
        if self._top_p == 1:
            return kept
        above, above_weight = self._above(logits + 2 * reach)
        before, before_weight = self._above(logits)
        _, all_weight = self._above(_just_below(lowest))
        level = (before - above) * ((logits - self._floors.best).double() / self._temperature).exp()
        above_weight = above_weight * (-2 * reach.double() / self._temperature).exp()
        return kept & (above_weight < self._top_p * (above_weight + level + all_weight - before_weight))

    def could_drop(self, logits: Tensor, reach: Tensor) -> Tensor:
        """Whether each row's token could be dropped: bool [rows] from float32 [rows]."""
        dropped = logits < self._floors.lowest_without(logits) + 2 * reach
        if self._top_p == 1:
            return dropped
        own = ((logits - self._floors.best).double() / self._temperature).exp()
        _, weight = self._above(logits - 2 * reach)
        others_above = (weight - torch.where(reach > 0, own, 0.0)).clamp_min(0)
        _, sure = self._above(_just_below(self._floors.lowest + 2 * reach))
        below = torch.maximum(sure - others_above, own)
        above = others_above * (2 * reach.double() / self._temperature).exp()
        return dropped | (above >= self._top_p * (above + below))

    def _above(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """How many tokens of each row have a larger logit, and their weight relative to the best."""
        count = torch.searchsorted(self._falling, logits.neg().unsqueeze(1))
        return count.squeeze(1), self._sums.gather(1, count).squeeze(1)


def _just_below(values: Tensor) -> Tensor:
    return torch.nextafter(values, torch.full_like(values, -math.inf))
