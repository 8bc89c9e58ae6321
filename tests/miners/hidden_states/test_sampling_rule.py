"""The tests' own rule of sampling: exact where there is no error, and able to say no."""

import pytest
import torch
from torch import Tensor

from shared.sampling_noise import sampled_tokens
from tests.miners.hidden_states.sampling_rule import LOGIT_ERROR, Rule, explained_share, is_explained

TEN = torch.tensor([4.0, 3.0, 2.5, 2.0, 1.0, 0.5, 0.0, -1.0, -2.0, -3.0])
SEED, POSITION = 5, 60


def survivors(rule: Rule) -> list[int]:
    return [int(token) for token in rule.kept(TEN, 0.0, 0.0).nonzero()]


def test_a_rule_that_asks_for_nothing_keeps_every_token() -> None:
    assert survivors(Rule()) == list(range(10))


def test_top_k_keeps_the_k_likeliest() -> None:
    assert survivors(Rule(top_k=3)) == [0, 1, 2]


def test_top_p_keeps_the_least_set_that_reaches_it() -> None:
    shares = TEN.softmax(dim=0).cumsum(dim=0)
    assert survivors(Rule(top_p=float(shares[1]) + 0.01)) == [0, 1, 2]
    assert survivors(Rule(top_p=0.01)) == [0]


def test_top_p_counts_only_what_top_k_left() -> None:
    assert survivors(Rule(top_p=0.9)) == [0, 1, 2, 3]
    assert survivors(Rule(top_k=3, top_p=0.8)) == [0, 1]


def test_min_p_keeps_a_share_of_the_likeliest() -> None:
    assert survivors(Rule(min_p=0.3)) == [0, 1]
    assert survivors(Rule(min_p=0.3, temperature=2.0)) == [0, 1, 2, 3]


@pytest.mark.vllm
@pytest.mark.parametrize("rule", [Rule(top_k=9), Rule(top_p=0.7), Rule(top_k=30, top_p=0.5)], ids=str)
def test_the_kept_tokens_are_those_that_vllm_keeps(rule: Rule) -> None:
    from vllm.v1.sample.ops.topk_topp_sampler import apply_top_k_top_p

    logits = torch.randn(200, generator=torch.Generator().manual_seed(2))
    top_k = torch.tensor([rule.top_k]) if rule.top_k else None
    top_p = torch.tensor([rule.top_p]) if rule.top_p < 1 else None
    theirs = apply_top_k_top_p(logits.clone().unsqueeze(0), top_k, top_p)[0].isfinite()
    assert torch.equal(rule.kept(logits, 0.0, 0.0), theirs)


def drawn(logits: Tensor, rule: Rule, seed: int) -> list[int]:
    """Tokens at positions from POSITION on; logits [rows, vocabulary]."""
    kept = torch.stack([rule.kept(row, 0.0, 0.0) for row in logits])
    masked = (logits / rule.temperature).masked_fill(~kept, -torch.inf)
    places = torch.arange(POSITION, POSITION + len(logits))
    return [int(token) for token in sampled_tokens(masked, torch.full_like(places, seed), places)]


@pytest.mark.parametrize("rule", [Rule(), Rule(temperature=0.3, top_k=20), Rule(top_p=0.8)], ids=str)
def test_tokens_from_slightly_wrong_logits_are_explained(rule: Rule) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(40, 500, generator=generator)
    wrong = logits + (torch.rand(logits.shape, generator=generator) - 0.5) * LOGIT_ERROR
    assert explained_share(rule, logits, SEED, POSITION, drawn(wrong, rule, SEED)) == 1.0


def test_tokens_of_other_seeds_logits_and_rules_are_not_explained() -> None:
    generator = torch.Generator().manual_seed(4)
    logits, others = torch.randn(2, 40, 500, generator=generator)
    tokens = drawn(logits, Rule(), SEED)
    assert explained_share(Rule(), logits, SEED, POSITION, tokens) == 1.0
    assert explained_share(Rule(), logits, SEED + 1, POSITION, tokens) < 0.1
    assert explained_share(Rule(), logits, SEED, POSITION + 1, tokens) < 0.1
    assert explained_share(Rule(), others, SEED, POSITION, tokens) < 0.6
    assert explained_share(Rule(top_k=5), logits, SEED, POSITION, tokens) < 0.6
    assert not is_explained(Rule(), logits[0], SEED, POSITION, (tokens[0] + 1) % 500)
