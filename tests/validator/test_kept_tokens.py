"""What min-p, top-k and top-p keep, held against vLLM's own function, and how far the other side is."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.validator.vllm_sampling import vllm_truncated
from validator.kept_tokens import Floors, KeptBoundary, KeptTokens
from validator.sampling_rules import SamplingRule

rules = st.builds(
    SamplingRule,
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.sampled_from([0, 1, 4, 100]),
    top_p=st.sampled_from([1.0, 0.9, 0.4]),
    min_p=st.sampled_from([0.0, 0.02, 0.3]),
)
seeds = st.integers(0, 1 << 20)


def some_logits(seed: int, rows: int = 3, vocabulary_size: int = 12) -> Tensor:
    return torch.randn(rows, vocabulary_size, generator=torch.Generator().manual_seed(seed)) * 3


def kept_by_vllm(logits: Tensor, rule: SamplingRule) -> Tensor:
    scaled = logits / rule.temperature
    if rule.min_p:
        shares = scaled.softmax(dim=1)
        scaled = scaled.masked_fill(shares < shares.amax(dim=1, keepdim=True) * rule.min_p, -math.inf)
    top_k = rule.top_k if rule.top_k < logits.shape[1] else 0
    return vllm_truncated(scaled, top_k, rule.top_p) > -math.inf


@given(rule=rules, seed=seeds)
@settings(max_examples=200)
def test_kept_are_the_tokens_that_vllm_keeps(rule: SamplingRule, seed: int) -> None:
    logits = some_logits(seed)
    kept, expected = KeptTokens(logits, rule), kept_by_vllm(logits, rule)
    for token in range(logits.shape[1]):
        assert torch.equal(kept.keeps(logits[:, token]), expected[:, token])


@given(rule=rules, seed=seeds)
@settings(max_examples=100)
def test_nothing_is_kept_that_is_certainly_dropped(rule: SamplingRule, seed: int) -> None:
    logits = some_logits(seed)
    dropped = logits <= KeptTokens(logits, rule).certainly_dropped().unsqueeze(1)
    assert not bool((dropped & kept_by_vllm(logits, rule)).any())


def test_top_p_rules_out_the_far_tail_without_sorting() -> None:
    logits = torch.tensor([[5.0, 4.0, -30.0, -40.0]])
    lowest = KeptTokens(logits, SamplingRule(top_p=0.9)).certainly_dropped()
    assert -30 < lowest < 4


@given(rule=rules, seed=seeds)
@settings(max_examples=100)
def test_at_no_reach_a_token_could_be_what_it_is(rule: SamplingRule, seed: int) -> None:
    logits, none = some_logits(seed), torch.zeros(3)
    boundary = KeptBoundary(logits, Floors.of(logits, rule), rule)
    expected = kept_by_vllm(logits, rule)
    for token in range(logits.shape[1]):
        assert torch.equal(boundary.could_keep(logits[:, token], none), expected[:, token])
        assert torch.equal(boundary.could_drop(logits[:, token], none), ~expected[:, token])


@given(rule=rules, seed=seeds, reach=st.sampled_from([0.01, 0.1, 1.0, 5.0]), extreme=st.booleans())
@settings(max_examples=200)
def test_what_some_change_within_reach_does_counts_as_possible(
    rule: SamplingRule, seed: int, reach: float, extreme: bool
) -> None:
    logits = some_logits(seed)
    change = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed + 1)) * 2 - 1
    expected = kept_by_vllm(logits + reach * (change.sign() if extreme else change), rule)
    boundary = KeptBoundary(logits, Floors.of(logits, rule), rule)
    within = torch.full((3,), reach + 1e-4)
    for token in range(logits.shape[1]):
        possible = torch.where(
            expected[:, token],
            boundary.could_keep(logits[:, token], within),
            boundary.could_drop(logits[:, token], within),
        )
        assert bool(possible.all())


@given(rule=rules, seed=seeds)
@settings(max_examples=60)
def test_a_larger_reach_never_makes_less_possible(rule: SamplingRule, seed: int) -> None:
    logits = some_logits(seed)
    boundary = KeptBoundary(logits, Floors.of(logits, rule), rule)
    for token in range(logits.shape[1]):
        for could in (boundary.could_keep, boundary.could_drop):
            found = [could(logits[:, token], torch.full((3,), reach)) for reach in (0.0, 0.1, 0.5, 2.0, 9.0)]
            for earlier, later in itertools.pairwise(found):
                assert bool((later | ~earlier).all())


ROW = torch.tensor([[3.0, 1.0, 0.0]])


def needed(rule: SamplingRule, token: int, keep: bool) -> float:
    """The smallest reach, to a hundredth, that keeps or drops a token of ROW."""
    boundary = KeptBoundary(ROW, Floors.of(ROW, rule), rule)
    could = boundary.could_keep if keep else boundary.could_drop
    return next(
        step / 100 for step in range(1000) if bool(could(ROW[:, token], torch.tensor([step / 100 + 1e-4])))
    )


@pytest.mark.parametrize(
    ("rule", "token", "keep", "reach"),
    [
        (SamplingRule(top_k=2), 2, True, 0.5),
        (SamplingRule(top_k=1), 2, True, 1.5),
        (SamplingRule(top_k=2), 1, False, 0.5),
        (SamplingRule(top_k=1), 0, False, 1.0),
        (SamplingRule(min_p=math.exp(-1)), 1, True, 0.5),
        (SamplingRule(min_p=math.exp(-2.4)), 1, False, 0.2),
        (SamplingRule(min_p=math.exp(-1), temperature=2.0), 1, False, 0.0),
    ],
)
def test_thresholds_are_half_the_distance_away(
    rule: SamplingRule, token: int, keep: bool, reach: float
) -> None:
    assert needed(rule, token, keep) == pytest.approx(reach, abs=0.011)


def test_the_best_token_is_dropped_by_min_p_only_for_another_best() -> None:
    rule = SamplingRule(min_p=math.exp(-1))
    assert needed(rule, 0, keep=False) == pytest.approx((3 - 1 + 1) / 2, abs=0.011)


def test_masked_tokens_are_never_kept() -> None:
    logits = torch.tensor([[1.0, -math.inf, 0.0]])
    for rule in (SamplingRule(top_p=0.99), SamplingRule(top_k=2), SamplingRule(min_p=0.01)):
        boundary = KeptBoundary(logits, Floors.of(logits, rule), rule)
        assert not bool(boundary.could_keep(logits[:, 1], torch.tensor([60.0])).any())


@given(seed=seeds)
@settings(max_examples=20)
def test_groups_of_rows_can_be_taken_apart_and_joined(seed: int) -> None:
    logits, rule = some_logits(seed, rows=5), SamplingRule(top_k=3, min_p=0.1)
    floors = Floors.of(logits, rule)
    joined = Floors.joined([floors.at(torch.tensor([0, 1])), floors.at(torch.arange(5) > 1)])
    assert torch.equal(joined.lowest, floors.lowest)
    assert torch.equal(joined.lowest_without(logits[:, 0]), floors.lowest_without(logits[:, 0]))
    assert torch.equal(Floors.of(logits[2:], replace(rule)).best, floors.best[2:])
