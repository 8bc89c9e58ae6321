"""Contenders: what is left out can hardly be drawn, and thresholds are those of the exact filters."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.validator.test_token_margins import some_logits
from validator.contenders import BIN, TAIL_SHARE, Contenders
from validator.kept_tokens import Floors, KeptTokens
from validator.logit_processing import MASKED, ProcessedLogits
from validator.sampling_rules import SamplingRule

FILTERS = [
    SamplingRule(seed=1),
    SamplingRule(seed=1, top_k=5),
    SamplingRule(seed=1, min_p=0.05),
    SamplingRule(seed=1, top_p=0.8),
    SamplingRule(seed=1, temperature=0.6, top_k=7, top_p=0.9, min_p=0.02),
]


def contenders(logits: Tensor, rule: SamplingRule, hottest: float = 1.0) -> Contenders:
    return Contenders.of(ProcessedLogits(logits), Floors.of(logits, rule), hottest)


@given(
    seed=st.integers(0, 1 << 20),
    spread=st.sampled_from([0.5, 3.0, 10.0]),
    hottest=st.sampled_from([0.5, 1.4]),
)
@settings(max_examples=40, deadline=None)
def test_what_is_left_out_is_drawn_less_often_than_stated(seed: int, spread: float, hottest: float) -> None:
    logits = some_logits(seed, rows=3, vocabulary_size=500, spread=spread)
    found = contenders(logits, SamplingRule(seed=1), hottest)
    for temperature in (hottest, hottest / 2):
        drawn = (logits / temperature).softmax(dim=1)
        among = torch.zeros(3).scatter_add_(0, found.rows, drawn[found.rows, found.tokens])
        assert float(among.min()) > 1 - TAIL_SHARE


@pytest.mark.parametrize("rule", FILTERS)
@given(seed=st.integers(0, 1 << 20))
@settings(max_examples=30, deadline=None)
def test_thresholds_are_those_of_the_exact_filters(rule: SamplingRule, seed: int) -> None:
    """Up to the step of BIN logits and, where probabilities are summed, a token, the share that lacks, and
    the share by which tokens that stand for their step of BIN logits may be misjudged."""
    logits = some_logits(seed, rows=4, vocabulary_size=200, spread=2.0)
    exact = KeptTokens(logits, rule)
    lowest = contenders(logits, rule).lowest_kept(rule, rule.temperature).unsqueeze(1)
    kept = torch.stack([exact.keeps(column) for column in logits.unbind(dim=1)], dim=1)
    differs = (kept != (logits >= lowest)) & ((logits - lowest).abs() > BIN)
    if rule.top_p == 1:
        assert not bool(differs.any())
    shares = (logits / rule.temperature).softmax(dim=1) * differs
    misjudged = BIN / rule.temperature if rule.temperature else 0.0
    assert float((shares.sum(dim=1) - shares.amax(dim=1)).max()) <= TAIL_SHARE + misjudged


def test_a_row_of_masked_tokens_has_no_contender() -> None:
    logits = torch.tensor([[MASKED, MASKED, MASKED], [0.0, 1.0, MASKED]])
    found = contenders(logits, SamplingRule(seed=1))
    assert found.rows.tolist() == [1, 1]
    assert found.largest(found.logits).tolist() == [MASKED, 1.0]
    assert found.total(torch.ones(2)).tolist() == [0.0, 2.0]
    assert found.places(torch.tensor([0, 1])).tolist() == [-1, 1]


def test_some_tokens_keep_their_rows() -> None:
    found = contenders(some_logits(3, rows=2, vocabulary_size=6), SamplingRule(seed=1))
    last = found.only(found.rows == 1)
    assert last.count == found.count
    assert set(last.rows.tolist()) == {1}
    assert last.largest(last.logits)[0] == MASKED
