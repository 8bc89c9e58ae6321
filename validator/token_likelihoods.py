"""How likely each alternative to a request's own sampling makes the tokens that were emitted.

Of each row of logits only the contenders are looked at: tokens near enough to the best one that noise could
make up for it. What an alternative's distribution lacks beyond them is spread evenly, so that it sums to one
whatever was emitted.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from shared.sampling_noise import gumbel_noise_at, large_noise_at
from validator.alternative_names import STEPS
from validator.contenders import Contenders
from validator.kept_tokens import KeptTokens
from validator.logit_processing import MASKED, ProcessedLogits
from validator.sampler_alternatives import Alternative, alternatives
from validator.sampling_rules import SamplingRule

WINDOW = 5.0
"""Only contenders whose score is this near to the best one's, in logits, are told apart: noise is made for
all, the rest of the work for these few."""

SLACK = 1e-3
"""By so much more is looked at than is needed: what is near is decided once, when noise is known."""

STEP_WINDOW = 2.0
"""So much wider is the window because temperatures near the request's are looked at too."""

WIDE = 0.5
WIDE_SHARE = 0.02
"""With this probability an alternative's token lies somewhere around its best score, on a scale of WIDE
logits: a sampler that is nearly, but not quite, the named one is told by the tokens that fit."""

ANY_SHARE = 1e-3
"""With this probability an alternative's token is any of the vocabulary."""


class TokenLikelihoods:
    """Log-likelihoods of one choice's output tokens under every alternative, from blocks of logits.

    Args:
        seed: the choice's own.
        first_position: the input whose logits the first output was drawn from.
    """

    def __init__(self, rule: SamplingRule, emitted: Tensor, seed: int, first_position: int) -> None:
        self._rule, self._emitted = rule, emitted
        self._seed, self._first_position = seed, first_position
        self.alternatives = alternatives(rule)
        looked_at = {rule.temperature, *(one.temperature for one in self.alternatives)}
        self._temperatures = sorted(looked_at - {0.0}) or [1.0]
        self._hottest = max(WIDE, *self._temperatures)
        self._found = torch.full((len(emitted), len(self.alternatives)), math.nan)
        self._leads = torch.full((len(emitted),), math.nan)

    def read(self, processed: ProcessedLogits, kept: KeptTokens, outputs: Tensor) -> None:
        """Take the processed logits of some outputs, int64 [rows], and what is kept of them."""
        contenders = Contenders.of(processed, kept.floors, self._hottest)
        emitted = self._emitted[outputs.cpu()].to(outputs.device)
        thresholds = {one: contenders.lowest_kept(self._rule, one) for one in self._temperatures}
        block = _Block(self._rule, contenders, None, emitted, thresholds)
        few = self._able(outputs, block).nearest()
        floor = ANY_SHARE / processed.logits.shape[1]
        likely = [(few if one.known_noise else block).log_likelihood(one, floor) for one in self.alternatives]
        places = outputs.cpu()
        self._found[places] = torch.stack(likely, dim=1).cpu()
        self._leads[places] = few.lead().cpu()

    def totals(self) -> tuple[float, ...]:
        """The logarithm of the probability of all tokens together, by alternative.

        Raises:
            ValueError: logits of some outputs were not read.
        """
        if bool(self._found.isnan().any()):
            raise ValueError("not all logits of the outputs were read")
        return tuple(self._found.double().sum(dim=0).tolist())

    def leads(self) -> Tensor:
        """How far the token that the reference draws is from losing to the next one, in logits.

        Half the difference of their scores: the change, both ways, that makes them equal; infinite where
        there is no other. float32 [outputs] on the CPU.

        Raises:
            ValueError: logits of some outputs were not read.
        """
        if bool(self._leads.isnan().any()):
            raise ValueError("not all logits of the outputs were read")
        return self._leads.clone()

    def _able(self, outputs: Tensor, block: "_Block") -> "_Block":
        """Of a block without noise: what its noise may bring near the best score, with that noise."""
        contenders = block.contenders
        if self._rule.greedy and self._rule.seed is None:
            return block.only(torch.arange(len(contenders.rows), device=outputs.device), None)
        positions = outputs + self._first_position
        seeds = torch.full_like(positions, self._seed)
        top = contenders.tops()
        noise = gumbel_noise_at(seeds, positions, contenders.rows[top], contenders.tokens[top])
        floors = block.noise_floors(
            torch.zeros_like(contenders.best).index_put_((contenders.rows[top],), noise)
        )
        found, noise = large_noise_at(seeds, positions, contenders.rows, contenders.tokens, floors)
        return block.only(found, noise)


class _Block:
    """The contenders of one block of rows, their noise, and the filters' thresholds at each temperature.

    Args:
        noise: of each contender; None where it is not known, or there is none.
        emitted: of each row.
    """

    def __init__(
        self,
        rule: SamplingRule,
        contenders: Contenders,
        noise: Tensor | None,
        emitted: Tensor,
        thresholds: dict[float, Tensor],
    ) -> None:
        self._rule, self.contenders, self._emitted = rule, contenders, emitted
        self._noise = torch.zeros_like(contenders.logits) if noise is None else noise
        self._thresholds = thresholds
        self._places = contenders.places(emitted)

    def nearest(self) -> "_Block":
        """Only what is near the best score that the filters keep, at the usual temperatures."""
        contenders = self.contenders
        near = contenders.logits > contenders.best[contenders.rows] - WINDOW / 2
        for temperature in self._usual_temperatures():
            scores = contenders.logits + temperature * self._noise
            kept = scores.masked_fill(self._beyond(temperature) > 0, MASKED)
            near |= scores > (contenders.largest(kept) - WINDOW - STEP_WINDOW)[contenders.rows]
        few = contenders.only(near)
        return _Block(self._rule, few, self._noise[near], self._emitted, self._thresholds)

    def only(self, chosen: Tensor, noise: Tensor | None) -> "_Block":
        """Some of the contenders, by number, with their noise."""
        return _Block(self._rule, self.contenders.only(chosen), noise, self._emitted, self._thresholds)

    def noise_floors(self, of_top: Tensor) -> Tensor:
        """The noise that each contender needs to be among the nearest; −inf for those that need none.

        Args:
            of_top: the noise of the token with the best logit, [count], which all filters keep.
        """
        contenders = self.contenders
        below = contenders.best[contenders.rows] - contenders.logits
        needed = torch.full_like(below, math.inf)
        for temperature in self._usual_temperatures():
            floor = of_top - (WINDOW + STEP_WINDOW) / temperature
            needed = torch.minimum(needed, floor[contenders.rows] + below / temperature)
        return needed.masked_fill_(below < WINDOW / 2 + SLACK, -math.inf) - SLACK

    def _usual_temperatures(self) -> list[float]:
        usual = self._rule.temperature
        far_from_one = [1.0] if abs(usual - 1.0) > max(STEPS) else []
        return [*([usual] if usual else []), *far_from_one]

    def log_likelihood(self, one: Alternative, floor: float) -> Tensor:
        """Of each row's emitted token: float32 [rows]; 0 where nothing can be drawn."""
        contenders = self.contenders
        scores = contenders.logits if one.penalised else contenders.raw
        if one.known_noise and one.temperature:
            scores = scores + one.temperature * self._noise
        if one.filtered:
            scores = self._filtered(scores, self._beyond(one.temperature))
        best = contenders.largest(scores)
        below = scores - best[contenders.rows]
        if one.known_noise:
            likely = self._share_of_emitted(below, one.scale) * (1 - WIDE_SHARE)
            likely += self._share_of_emitted(below, max(WIDE, one.scale)) * WIDE_SHARE
        else:
            likely = self._share_of_emitted(below, one.temperature)
        return torch.where(best == MASKED, 0.0, (likely * (1 - ANY_SHARE) + floor).log())

    def lead(self) -> Tensor:
        """Half the difference of the two best scores of each row."""
        contenders = self.contenders
        scores = contenders.logits + self._rule.temperature * self._noise
        scores = scores.masked_fill(self._beyond(self._rule.temperature) > 0, MASKED)
        best = contenders.largest(scores)
        is_best = scores == best[contenders.rows]
        second = contenders.largest(scores.masked_fill(is_best, MASKED))
        second = torch.where(contenders.total(is_best.to(scores.dtype)) > 1, best, second)
        return torch.where(best == MASKED, math.inf, (best - second) / 2)

    def _beyond(self, temperature: float) -> Tensor:
        """How far below the filters' threshold each is: 0 for what is kept. Greedy draws keep their own."""
        usual = temperature or self._rule.temperature
        threshold = self._thresholds.get(usual, next(iter(self._thresholds.values())))
        return (threshold[self.contenders.rows] - self.contenders.logits).clamp_min(0.0)

    def _filtered(self, scores: Tensor, beyond: Tensor) -> Tensor:
        """Scores under min-p, top-k and top-p, whose threshold is as uncertain as the logits.

        A token a little below it may be kept, but is no more likely than the best of those that surely are.
        """
        kept = beyond == 0
        best_kept = self.contenders.largest(scores.masked_fill(~kept, MASKED))
        uncertain = torch.minimum(scores, best_kept[self.contenders.rows]) - beyond
        return torch.where(kept, scores, uncertain)

    def _share_of_emitted(self, below: Tensor, scale: float) -> Tensor:
        """Share of the emitted token in each row's sum of exp(score ÷ scale): [rows]."""
        weights = (below / scale).exp()
        totals = self.contenders.total(weights)
        if not len(weights):
            return totals
        own = torch.where(self._places >= 0, weights[self._places.clamp_min(0)], 0.0)
        return own / totals.clamp_min(torch.finfo(totals.dtype).tiny)


def total_likelihoods(parts: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Of several choices of one answer together."""
    return tuple(math.fsum(of_one) for of_one in zip(*parts, strict=True))
