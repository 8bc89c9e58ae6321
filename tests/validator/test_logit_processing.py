"""Bias, penalties and masks, held against vLLM's own functions and against plain steps."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.validator.example_sampler import processed
from tests.validator.vllm_sampling import vllm_penalised, vllm_without_bad_words
from validator.logit_processing import MASKED, LogitProcessing, Penalties
from validator.sampling_rules import SamplingRule

PROMPT, OUTPUT = [1, 3, 3, 7], [3, 2, 2, 9, 3]

tokens = st.integers(0, 9)
penalty = st.sampled_from([0.0, 0.4, -1.5])


def some_logits(rows: int, vocabulary_size: int = 10) -> Tensor:
    return torch.randn(rows, vocabulary_size, generator=torch.Generator().manual_seed(rows)) * 3


def all_processed(rule: SamplingRule, logits: Tensor, prompt: Sequence[int], output: Sequence[int]) -> Tensor:
    return LogitProcessing(rule, prompt, output).apply(0, logits.clone()).logits


@given(
    prompt=st.lists(tokens, min_size=1, max_size=6),
    output=st.lists(tokens, min_size=1, max_size=8),
    presence=penalty,
    frequency=penalty,
    repetition=st.sampled_from([1.0, 1.3, 0.7]),
)
@settings(max_examples=60)
def test_penalties_are_vllms(
    prompt: list[int], output: list[int], presence: float, frequency: float, repetition: float
) -> None:
    rule = SamplingRule(presence_penalty=presence, frequency_penalty=frequency, repetition_penalty=repetition)
    logits = some_logits(len(output))
    found = all_processed(rule, logits, prompt, output)
    for row in range(len(output)):
        theirs = vllm_penalised(logits[row], prompt, output[:row], (presence, frequency, repetition))
        assert torch.allclose(found[row], theirs, atol=1e-5)


@given(
    words=st.lists(st.lists(tokens, min_size=1, max_size=3), min_size=1, max_size=3),
    output=st.lists(st.integers(0, 2), min_size=1, max_size=8),
)
@settings(max_examples=60)
def test_bad_words_are_vllms(words: list[list[int]], output: list[int]) -> None:
    rule = SamplingRule(bad_words=tuple(map(tuple, words)))
    logits = some_logits(len(output))
    found = all_processed(rule, logits, PROMPT, output)
    for row in range(len(output)):
        assert torch.equal(found[row], vllm_without_bad_words(logits[row], words, output[:row]))


FULL = SamplingRule(
    logit_bias=((2, 4.0), (8, -3.0), (99, 5.0)),
    presence_penalty=0.5,
    frequency_penalty=0.25,
    repetition_penalty=1.4,
    allowed_token_ids=(2, 3, 7, 8, 9),
    min_tokens=2,
    held_back_token_ids=frozenset({9, 50}),
    bad_words=((3, 2), (8,)),
)


@pytest.mark.parametrize("block", [1, 2, 5])
def test_all_steps_together_do_what_one_row_after_the_other_gets(block: int) -> None:
    logits = some_logits(len(OUTPUT))
    processing = LogitProcessing(FULL, PROMPT, OUTPUT)
    plain = SamplingRule(**{**FULL.__dict__, "logit_bias": FULL.logit_bias[:2]})
    plain = SamplingRule(**{**plain.__dict__, "held_back_token_ids": frozenset({9})})
    for first in range(0, len(OUTPUT), block):
        found = processing.apply(first, logits[first : first + block].clone()).logits
        for row in range(len(found)):
            number = first + row
            expected = processed(plain, logits[number].numpy(), PROMPT, OUTPUT[:number])
            assert np.allclose(found[row].numpy(), expected, atol=1e-5)


def test_a_rule_without_processing_leaves_the_logits_alone() -> None:
    logits = some_logits(3)
    assert torch.equal(all_processed(SamplingRule(seed=1), logits, PROMPT, OUTPUT), logits)


def test_end_tokens_are_masked_until_the_least_length_is_reached() -> None:
    rule = SamplingRule(min_tokens=3, held_back_token_ids=frozenset({4}))
    found = all_processed(rule, some_logits(5), PROMPT, OUTPUT)
    assert (found[:, 4] == MASKED).tolist() == [True, True, True, False, False]


def test_penalties_of_single_logits_are_those_of_their_row_and_token() -> None:
    rule = SamplingRule(presence_penalty=0.5, frequency_penalty=0.25, repetition_penalty=1.4)
    block = LogitProcessing(rule, PROMPT, OUTPUT).apply(0, some_logits(5))
    rows, ids = torch.tensor([0, 0, 4, 4, 4]), torch.tensor([7, 2, 2, 9, 8])
    found = block.penalties_of(rows, ids)
    assert found.factor.tolist() == pytest.approx([1.4, 1.0, 1.4, 1.4, 1.0])
    assert found.reduction.tolist() == pytest.approx([0.0, 0.0, 1.0, 0.75, 0.0])


def test_tokens_that_the_vocabulary_lacks_are_not_penalised() -> None:
    rule = SamplingRule(repetition_penalty=1.4)
    logits = some_logits(3)
    foreign = all_processed(rule, logits, [*PROMPT, -1, 10], [-1, 99, 4])
    assert torch.equal(foreign, all_processed(rule, logits, PROMPT, [7, 7, 4]))
    assert not torch.equal(foreign, logits)


def test_without_penalties_single_logits_have_none() -> None:
    block = LogitProcessing(SamplingRule(), PROMPT, OUTPUT).apply(0, some_logits(5))
    found = block.penalties_of(torch.tensor([0, 1]), torch.tensor([7, 2]))
    assert (found.factor.tolist(), found.reduction.tolist()) == ([1.0, 1.0], [0.0, 0.0])


@given(
    logit=st.floats(-20, 20, width=32),
    by=st.floats(-20, 20, width=32),
    factor=st.sampled_from([1.0, 1.4, 0.6]),
    reduction=st.sampled_from([0.0, 2.5, -1.0]),
)
@settings(max_examples=100)
def test_a_shifted_logit_is_the_penalised_one_of_the_shifted(
    logit: float, by: float, factor: float, reduction: float
) -> None:
    penalties = Penalties(torch.tensor([factor]), torch.tensor([reduction]))
    penalised = penalties.applied(torch.tensor([logit]))
    shifted = penalties.shifted(penalised, torch.tensor([by]))
    assert torch.allclose(shifted, penalties.applied(torch.tensor([logit + by])), atol=1e-4)


@pytest.mark.parametrize(("factor", "steepest"), [(1.0, 1.0), (1.25, 1.25), (0.5, 2.0)])
def test_the_steepest_move_is_that_of_penalised_logits_on_the_worse_side(
    factor: float, steepest: float
) -> None:
    processing = LogitProcessing(SamplingRule(repetition_penalty=factor), PROMPT, OUTPUT)
    assert processing.steepest == pytest.approx(steepest)


def test_masked_logits_stay_masked_when_shifted() -> None:
    penalties = Penalties(torch.tensor([1.3]), torch.tensor([0.5]))
    assert penalties.shifted(torch.tensor([MASKED]), torch.tensor([5.0])).tolist() == [MASKED]
