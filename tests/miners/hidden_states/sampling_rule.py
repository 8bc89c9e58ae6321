"""Which tokens a sampling request may give, by a reference's logits and the noise of its seed."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.sampling_noise import gumbel_noise

LOGIT_ERROR = 0.02
"""Above every error of bfloat16 logits on the tiny random model (mean 0.0015, largest 0.012)."""

SHARE_ERROR = 0.03
"""What those errors can move in the probability of a whole set of tokens, at the temperatures used here."""


@dataclass(frozen=True)
class Rule:
    """What a request asks of the sampler; the defaults ask for nothing."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def kept(self, logits: Tensor, error: float, share_error: float) -> Tensor:
        """Tokens that may survive if logits err by `error`; with negative errors, those that must."""
        raised = logits + 2 * error
        kept = raised >= logits.max() + self.temperature * math.log(self.min_p or 1e-30)
        if self.top_k:
            kept &= raised >= logits.topk(self.top_k).values[-1]
        if self.top_p < 1:
            kept &= self._likelier(logits, raised) < self.top_p + share_error
        return kept

    def _likelier(self, logits: Tensor, raised: Tensor) -> Tensor:
        """For each raised logit the probability of all tokens above it, after top-k."""
        ordered = logits.sort(descending=True).values
        shares = (ordered[: self.top_k or None] / self.temperature).softmax(dim=0)
        reached = torch.cat([torch.zeros(1), shares.cumsum(dim=0)])
        above = torch.searchsorted(-ordered[: len(shares)].contiguous(), -raised)
        return reached[above]


def is_explained(rule: Rule, logits: Tensor, seed: int, position: int, token: int) -> bool:
    """Whether honest errors of the logits [vocabulary] allow this token to be the sampled one."""
    noise = gumbel_noise(torch.tensor([seed]), torch.tensor([position]), len(logits))[0]
    if not rule.kept(logits, LOGIT_ERROR, SHARE_ERROR)[token]:
        return False
    scores = logits / rule.temperature + noise
    rivals = scores[rule.kept(logits, -LOGIT_ERROR, -SHARE_ERROR)]
    beaten_by = float(rivals.max() - scores[token]) if len(rivals) else 0.0
    return beaten_by <= 2 * LOGIT_ERROR / rule.temperature


def explained_share(rule: Rule, logits: Tensor, seed: int, first: int, tokens: list[int]) -> float:
    """The share of explained tokens; logits [tokens, vocabulary], `first` the first sampled-from position."""
    rows = zip(logits, range(first, first + len(tokens)), tokens, strict=True)
    return sum(is_explained(rule, row, seed, place, token) for row, place, token in rows) / len(tokens)
