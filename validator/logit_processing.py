"""Logits as the sampler sees them before temperature: biased, penalised and masked.

vLLM's two model runners apply the steps in another order (`v1/sample/sampler.py`: allowed tokens, bad words,
minimum length, bias, penalties; `v1/worker/gpu/sample/sampler.py`: allowed tokens, bias, minimum length,
penalties, bad words). The result is the same: a mask stays what it is under bias and penalties, and both
add the bias before they penalise.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from validator.sampling_rules import SamplingRule

MASKED = float("-inf")


@dataclass(frozen=True)
class Penalties:
    """What penalties do to a logit x: (x / factor, or x · factor if x < 0) − reduction; of one shape."""

    factor: Tensor
    reduction: Tensor

    def applied(self, logits: Tensor) -> Tensor:
        """The penalised logits."""
        return torch.where(logits > 0, logits / self.factor, logits * self.factor) - self.reduction

    def removed(self, penalised: Tensor) -> Tensor:
        """The logits before they were penalised."""
        before = penalised + self.reduction
        return torch.where(before > 0, before * self.factor, before / self.factor)

    def shifted(self, penalised: Tensor, by: Tensor) -> Tensor:
        """What the penalised logits would be, had the logits been larger by `by`."""
        return self.applied(self.removed(penalised) + by)


@dataclass(frozen=True)
class ProcessedLogits:
    """A block of processed logits.

    Attributes:
        logits: float32 [rows, vocabulary_size]; −inf where a token can't be drawn.
        counted: the tokens that penalties look at, ascending: int64 [counted]; None without penalties.
        penalties: of those tokens, [rows, counted].
    """

    logits: Tensor
    counted: Tensor | None = None
    penalties: Penalties | None = None

    def penalties_of(self, rows: Tensor, tokens: Tensor) -> Penalties:
        """The penalties of single logits: [n] from int64 [n] each."""
        if self.counted is None or self.penalties is None:
            neutral = torch.ones(len(rows), device=rows.device)
            return Penalties(neutral, torch.zeros_like(neutral))
        columns = torch.searchsorted(self.counted, tokens).clamp_max_(len(self.counted) - 1)
        seen = self.counted[columns] == tokens
        factor = torch.where(seen, self.penalties.factor[rows, columns], 1.0)
        return Penalties(factor, torch.where(seen, self.penalties.reduction[rows, columns], 0.0))


class LogitProcessing:
    """The processing of one choice's logits."""

    def __init__(self, rule: SamplingRule, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> None:
        self._rule = rule
        self._output_ids = list(output_ids)
        self._counted = _CountedTokens(rule, prompt_ids, output_ids) if _penalises(rule) else None

    @property
    def steepest(self) -> float:
        """The most that a processed logit moves when the model's own moves by 1."""
        factor = self._rule.repetition_penalty
        return max(factor, 1 / factor)

    def apply(self, first: int, logits: Tensor) -> ProcessedLogits:
        """The processed logits of consecutive outputs from number `first` on.

        Args:
            logits: float32 [rows, vocabulary_size]; overwritten.
        """
        self._bias(logits)
        if self._counted is None:
            self._mask(first, logits)
            return ProcessedLogits(logits)
        counted, penalties = self._counted.penalise(first, logits)
        self._mask(first, logits)
        return ProcessedLogits(logits, counted, penalties)

    def _bias(self, logits: Tensor) -> None:
        known = [(token, bias) for token, bias in self._rule.logit_bias if 0 <= token < logits.shape[1]]
        if known:
            biases = torch.tensor([bias for _, bias in known], device=logits.device)
            logits[:, [token for token, _ in known]] += biases

    def _mask(self, first: int, logits: Tensor) -> None:
        vocabulary_size = logits.shape[1]
        if self._rule.allowed_token_ids is not None:
            allowed = _known(self._rule.allowed_token_ids, vocabulary_size)
            kept = logits[:, allowed]
            logits.fill_(MASKED)
            logits[:, allowed] = kept
        early = max(0, self._rule.min_tokens - first)
        logits[:early, _known(sorted(self._rule.held_back_token_ids), vocabulary_size)] = MASKED
        for *prefix, last in self._rule.bad_words:
            if last < vocabulary_size:
                logits[self._rows_after(prefix, first, len(logits)), last] = MASKED

    def _rows_after(self, prefix: list[int], first: int, rows: int) -> list[int]:
        """Rows whose output so far ends with the prefix."""
        length = len(prefix)
        ends = range(max(first, length), first + rows)
        return [end - first for end in ends if self._output_ids[end - length : end] == prefix]


def _penalises(rule: SamplingRule) -> bool:
    return (rule.repetition_penalty, rule.presence_penalty, rule.frequency_penalty) != (1, 0, 0)


def _known(token_ids: Sequence[int], vocabulary_size: int) -> list[int]:
    return [token for token in token_ids if 0 <= token < vocabulary_size]


class _CountedTokens:
    """Penalties by what came before: only tokens of the prompt and the output can have any."""

    def __init__(self, rule: SamplingRule, prompt_ids: Sequence[int], output_ids: Sequence[int]) -> None:
        self._rule = rule
        together = torch.tensor([*prompt_ids, *output_ids])
        self._tokens, columns = torch.unique(together, return_inverse=True)
        self._in_prompt = torch.zeros(len(self._tokens), dtype=torch.bool)
        self._in_prompt[columns[: len(prompt_ids)]] = True
        self._output_columns = columns[len(prompt_ids) :]

    def penalise(self, first: int, logits: Tensor) -> tuple[Tensor, Penalties]:
        """Penalise in place; the counted tokens and their penalties."""
        known = (self._tokens >= 0) & (self._tokens < logits.shape[1])
        tokens = self._tokens[known].to(logits.device)
        penalties = self._penalties(self._counts(first, len(logits), known).to(logits.device), known)
        logits[:, tokens] = penalties.applied(logits[:, tokens])
        return tokens, penalties

    def _counts(self, first: int, rows: int, known: Tensor) -> Tensor:
        """How often each known token is in the output before each row: float32 [rows, known]."""
        counts = torch.zeros(rows, len(self._tokens))
        counts[0] = torch.bincount(self._output_columns[:first], minlength=len(self._tokens))
        added = self._output_columns[first : first + rows - 1]
        counts[torch.arange(1, len(added) + 1), added] += 1.0
        return counts.cumsum(dim=0)[:, known]

    def _penalties(self, counts: Tensor, known: Tensor) -> Penalties:
        came = counts > 0
        repeats = came | self._in_prompt[known].to(counts.device)
        factor = torch.where(repeats, self._rule.repetition_penalty, 1.0)
        return Penalties(factor, self._rule.frequency_penalty * counts + self._rule.presence_penalty * came)
