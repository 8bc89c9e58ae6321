"""Alternatives are probability distributions, and make the tokens of their own samplers likely."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.validator.example_sampler import draw_all
from tests.validator.test_token_margins import PROMPT, RULES, some_logits
from validator.output_tokens import OutputTokens
from validator.sampler_alternatives import alternatives
from validator.sampling_rules import SamplingRule
from validator.token_likelihoods import total_likelihoods

WARM = SamplingRule(seed=3, temperature=0.8)


def read(
    rule: SamplingRule, logits: Tensor, output: Sequence[int], choice: int = 0, block: int = 64
) -> OutputTokens:
    tokens = OutputTokens(rule, PROMPT, output, choice)
    for start in range(0, len(logits), block):
        tokens.read(tokens.first_position + start, logits[start : start + block].clone())
    return tokens


def likelihoods(rule: SamplingRule, logits: Tensor, output: Sequence[int]) -> dict[str, float]:
    tokens = read(rule, logits, output)
    names = [one.name for one in tokens.alternatives]
    return dict(zip(names, tokens.log_likelihoods(), strict=True))


@pytest.mark.parametrize("name", RULES)
@given(seed=st.integers(0, 1 << 20), spread=st.sampled_from([0.3, 2.0, 8.0]))
@settings(max_examples=20, deadline=None)
def test_probabilities_of_all_tokens_sum_to_one_at_most(name: str, seed: int, spread: float) -> None:
    """What the evidence rests on: an alternative that promised more would accuse honest miners."""
    logits = some_logits(seed, rows=1, vocabulary_size=8 + seed % 30, spread=spread)
    each = [likelihoods(RULES[name], logits, [token]) for token in range(logits.shape[1])]
    for alternative in each[0]:
        assert sum(math.exp(one[alternative]) for one in each) <= 1 + 1e-4


SAMPLERS = {
    "at the request's temperature -0.1": (WARM, replace(WARM, temperature=0.7)),
    "at the request's temperature +0.2": (WARM, replace(WARM, temperature=1.0)),
    "at temperature 0": (WARM, replace(WARM, temperature=0.0)),
    "at temperature 0.3": (
        SamplingRule(seed=3, temperature=0.0),
        SamplingRule(seed=3, temperature=0.3),
    ),
    "without top-k, top-p and min-p": (replace(WARM, top_p=0.6, top_k=4), WARM),
    "without penalties": (replace(WARM, presence_penalty=1.5, repetition_penalty=1.4), WARM),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_another_samplers_tokens_are_explained_by_it_and_no_other_alternative_as_well(name: str) -> None:
    asked, used = SAMPLERS[name]
    logits = some_logits(11, rows=300, vocabulary_size=60)
    output = draw_all(used, logits, PROMPT)
    found = likelihoods(asked, logits, output)
    assert found[name] > -0.2 * len(output)
    assert max(found, key=lambda one: found[one]) == name


def test_another_seeds_tokens_are_as_likely_as_the_model_makes_them() -> None:
    logits = some_logits(12, rows=200, vocabulary_size=60)
    output = draw_all(replace(WARM, seed=4), logits, PROMPT)
    found = likelihoods(WARM, logits, output)
    plain = (logits / WARM.temperature).log_softmax(dim=1)[range(200), output].sum()
    assert found["with another seed"] == pytest.approx(float(plain), rel=0.02)
    assert max(found, key=lambda one: found[one]) == "with another seed"


@pytest.mark.parametrize("scale", [0.1, 0.4])
def test_other_weights_tokens_are_explained_by_errors_of_their_size(scale: float) -> None:
    logits = some_logits(13, rows=600, vocabulary_size=60)
    errors = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)) * scale
    found = likelihoods(WARM, logits, draw_all(WARM, logits + errors, PROMPT))
    assert max(found, key=lambda one: found[one]) == f"with errors of about {scale:g} logits"


def test_a_token_just_outside_of_what_the_filters_keep_is_not_impossible_to_an_alternative() -> None:
    logits = torch.tensor([[2.0, 1.9, 1.88, -6.0]])
    unfiltered = [SamplingRule(seed=seed) for seed in range(100)]
    rule = replace(next(one for one in unfiltered if draw_all(one, logits, PROMPT) == [2]), top_k=2)
    near, far = (likelihoods(rule, logits, [token]) for token in (2, 3))
    assert near["with errors of about 0.1 logits"] > -1.5
    assert far["with errors of about 0.1 logits"] < -6


def test_a_row_in_which_nothing_can_be_drawn_says_nothing() -> None:
    rule = replace(WARM, allowed_token_ids=())
    assert set(likelihoods(rule, some_logits(1, rows=3), [1, 2, 3]).values()) == {0.0}


def test_an_impossible_token_is_unlikely_whatever_drew_it() -> None:
    rule = replace(WARM, allowed_token_ids=(1, 2))
    assert max(likelihoods(rule, some_logits(1, rows=1), [5]).values()) < -8


def test_blocks_and_choices_change_nothing_but_the_choices_seed() -> None:
    rule, logits = replace(RULES["all of them"], n=2), some_logits(5, rows=40, vocabulary_size=30)
    output = draw_all(rule, logits, PROMPT)
    whole, parts = read(rule, logits, output), read(rule, logits, output, block=7)
    assert whole.log_likelihoods() == pytest.approx(parts.log_likelihoods(), rel=1e-5)
    assert whole.leads().tolist() == pytest.approx(parts.leads().tolist())
    other = read(rule, logits, output, choice=1)
    assert other.log_likelihoods() != pytest.approx(whole.log_likelihoods(), rel=0.01)


def test_a_lead_is_half_the_difference_of_the_best_two_scores() -> None:
    logits = torch.tensor([[1.0, 0.4, -3.0], [2.0, 2.0, 1.0]])
    leads = read(SamplingRule(temperature=0.0), logits, [0, 0]).leads()
    assert leads[0] == pytest.approx(0.3)
    assert leads[1] == 0


def test_only_what_can_be_drawn_has_a_lead_to_lose() -> None:
    alone = read(SamplingRule(seed=1, top_k=1), torch.tensor([[1.0, 0.9, 0.0]]), [0])
    assert alone.leads().tolist() == [math.inf]


def test_what_was_not_read_is_not_made_up() -> None:
    tokens = OutputTokens(WARM, PROMPT, [1, 2, 3])
    tokens.read(tokens.first_position, some_logits(1, rows=2))
    with pytest.raises(ValueError, match="not all logits"):
        tokens.log_likelihoods()
    with pytest.raises(ValueError, match="not all logits"):
        tokens.leads()


def test_choices_of_one_answer_are_added_up() -> None:
    assert total_likelihoods([(-1.0, -2.0), (-0.5, 0.0)]) == (-1.5, -2.0)


def test_alternatives_are_named_once_and_leave_out_the_request_itself() -> None:
    for rule in RULES.values():
        found = alternatives(rule)
        assert len({one.name for one in found}) == len(found) <= 32
        same = [one for one in found if one.temperature == rule.temperature and one.scale < 0.1]
        assert all(not (one.filtered and one.penalised and one.known_noise) for one in same)


def test_a_greedy_request_without_a_seed_is_held_against_other_models_alone() -> None:
    names = [one.name for one in alternatives(SamplingRule(temperature=0.0))]
    assert all("errors" in name for name in names)


def test_no_alternative_is_colder_than_the_engine_allows() -> None:
    assert all(
        one.temperature == 0 or one.temperature >= 0.01
        for one in alternatives(replace(WARM, temperature=0.15))
    )
