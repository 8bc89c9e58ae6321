"""A sampler in plain steps, one token at a time: what the checks of tokens are held against."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from shared.sampling_noise import gumbel_noise
from validator.sampling_rules import SamplingRule

Logits = NDArray[np.float32]


def processed(rule: SamplingRule, logits: Logits, prompt: Sequence[int], output: Sequence[int]) -> Logits:
    """One row of logits after bias, penalties and masks, given the output so far."""
    row = logits.copy()
    for token, bias in rule.logit_bias:
        row[token] += bias
    for token in {*prompt, *output} & set(range(len(row))):
        row[token] = _repeated(row[token], rule.repetition_penalty)
    for token in set(output):
        row[token] -= rule.frequency_penalty * output.count(token) + rule.presence_penalty
    if rule.allowed_token_ids is not None:
        row[[token for token in range(len(row)) if token not in rule.allowed_token_ids]] = -np.inf
    if len(output) < rule.min_tokens:
        row[list(rule.held_back_token_ids)] = -np.inf
    for *prefix, last in rule.bad_words:
        if list(output)[len(output) - len(prefix) :] == prefix:
            row[last] = -np.inf
    return row


def _repeated(logit: np.float32, penalty: float) -> float:
    return float(logit) / penalty if logit > 0 else float(logit) * penalty


def truncated(rule: SamplingRule, logits: Logits) -> Logits:
    """One row of logits / temperature after min-p, top-k and top-p."""
    row = logits / np.float32(rule.temperature)
    if rule.min_p:
        row[row < row.max() + np.float32(math.log(rule.min_p))] = -np.inf
    if 0 < rule.top_k < len(row):
        row[row < np.sort(row)[-rule.top_k]] = -np.inf
    if rule.top_p == 1:
        return row
    order = np.argsort(row, kind="stable")
    shares = np.exp(row[order] - row.max())
    tail = np.cumsum(shares / shares.sum())
    dropped = tail <= 1 - rule.top_p
    dropped[-1] = False
    row[order[dropped]] = -np.inf
    return row


def draw(rule: SamplingRule, row: Logits, prompt: Sequence[int], output: Sequence[int], seed: int) -> int:
    """The next token."""
    logits = processed(rule, row, prompt, output)
    if rule.greedy:
        return int(logits.argmax())
    position = torch.tensor([len(prompt) + len(output) - 1])
    noise = gumbel_noise(torch.tensor([seed]), position, len(row))[0].numpy()
    return int((truncated(rule, logits) + noise).argmax())


def draw_all(rule: SamplingRule, logits: torch.Tensor, prompt: Sequence[int], choice: int = 0) -> list[int]:
    """One token from each row of float32 [outputs, vocabulary_size]."""
    output: list[int] = []
    for row in logits.numpy():
        output.append(draw(rule, row, prompt, output, rule.seed_of(choice)))
    return output
