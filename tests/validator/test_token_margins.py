"""Margins of tokens: zero for what the sampler draws, bounded by the logits' change, large for cheats."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from shared.errors import ModelError
from shared.sampling_noise import gumbel_noise
from tests.validator.example_sampler import draw, draw_all
from validator.margin_search import MARGIN_CAP
from validator.output_tokens import OutputTokens
from validator.sampling_rules import SamplingRule

PROMPT = [1, 2, 3, 2]
EOS = 0

RULES = {
    "greedy": SamplingRule(temperature=0.0),
    "plain": SamplingRule(seed=3),
    "cold": SamplingRule(seed=3, temperature=0.3),
    "top-k": SamplingRule(seed=3, temperature=0.9, top_k=3),
    "top-p": SamplingRule(seed=3, temperature=1.2, top_p=0.8),
    "min-p": SamplingRule(seed=3, min_p=0.1),
    "all of them": SamplingRule(seed=3, temperature=1.5, top_k=5, top_p=0.9, min_p=0.02),
    "repetition": SamplingRule(seed=3, repetition_penalty=1.3),
    "repetition and top-p": SamplingRule(
        seed=3, repetition_penalty=1.05, top_p=0.8, top_k=20, temperature=0.7
    ),
    "encouraged repetition": SamplingRule(temperature=0.0, repetition_penalty=0.8),
    "counts": SamplingRule(seed=3, frequency_penalty=0.4, presence_penalty=-0.7, top_p=0.9),
    "bias": SamplingRule(seed=3, logit_bias=((4, 5.0), (5, -100.0)), top_k=4),
    "allowed": SamplingRule(seed=3, allowed_token_ids=(1, 4, 6)),
    "minimum": SamplingRule(seed=3, min_tokens=5, held_back_token_ids=frozenset({EOS, 7})),
    "bad words": SamplingRule(seed=3, temperature=0.5, bad_words=((4,), (6, 2), (1, 3, 5))),
}


def some_logits(seed: int, rows: int = 6, vocabulary_size: int = 8, spread: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocabulary_size, generator=generator) * spread


FOUND_TO = 1e-3
"""Where rounding alone makes a margin, it is found to 2⁻¹⁴ of what beats every rival: of a few logits."""


def margins(
    rule: SamplingRule, logits: Tensor, output: Sequence[int], choice: int = 0, block: int = 64
) -> Tensor:
    reader = OutputTokens(rule, PROMPT, output, choice)
    for start in range(0, len(logits), block):
        reader.read(reader.first_position + start, logits[start : start + block].clone())
    return reader.margins()


@pytest.mark.parametrize("name", RULES)
@given(seed=st.integers(0, 1 << 20))
@example(seed=3529)
@settings(max_examples=25, deadline=None)
def test_tokens_drawn_by_the_rule_have_no_margin(name: str, seed: int) -> None:
    logits = some_logits(seed, vocabulary_size=8 + seed % 30)
    output = draw_all(RULES[name], logits, PROMPT)
    assert margins(RULES[name], logits, output).max() < FOUND_TO


@pytest.mark.parametrize("name", RULES)
@given(seed=st.integers(0, 1 << 20), size=st.sampled_from([0.003, 0.03, 0.3, 3.0]), extreme=st.booleans())
@settings(max_examples=60, deadline=None)
def test_margins_are_never_above_the_change_of_the_logits(
    name: str, seed: int, size: float, extreme: bool
) -> None:
    logits = some_logits(seed, vocabulary_size=8 + seed % 30)
    change = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed + 1)) * 2 - 1
    output = draw_all(RULES[name], logits + size * (change.sign() if extreme else change), PROMPT)
    assert margins(RULES[name], logits, output).max() <= size * (1 + 1e-3) + 1e-4


def smallest_change(rule: SamplingRule, row: Tensor, token: int, levels: Sequence[float]) -> float:
    """By trial: the first ε for which changing each logit by −ε, …, +ε makes the token the drawn one."""
    changes = np.array(
        list(itertools.product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=len(row) - 1)), dtype=np.float32
    )
    changes = np.insert(changes, token, 1.0, axis=1)
    for level in levels:
        for change in changes:
            if draw(rule, row.numpy() + level * change, PROMPT, [], rule.seed_of(0)) == token:
                return level
    return MARGIN_CAP


@pytest.mark.parametrize("name", ["greedy", "plain", "cold", "repetition", "encouraged repetition"])
def test_margins_are_reached_by_some_change_of_the_logits(name: str) -> None:
    for seed, token in itertools.product(range(3), range(4)):
        row = some_logits(seed, rows=1, vocabulary_size=4)
        enough = float(margins(RULES[name], row, [token])[0]) * 1.02 + 1e-3
        assert smallest_change(RULES[name], row[0], token, [enough]) == enough


@pytest.mark.parametrize("name", ["top-k", "top-p", "min-p"])
def test_margins_at_a_threshold_are_reached_where_one_condition_decides(name: str) -> None:
    """Two tokens on both sides of the threshold: after some change either is the drawn one."""
    rule = replace(RULES[name], temperature=1.0, top_k=RULES[name].top_k and 1)
    row = torch.tensor([[3.0, 0.4]])
    for token in range(2):
        enough = float(margins(rule, row, [token])[0]) * 1.02 + 1e-3
        assert smallest_change(rule, row[0], token, [enough]) == enough
    assert margins(rule, row, [1])[0] > 0.1


def test_the_margin_without_truncation_is_half_the_gap_of_the_scores() -> None:
    row = some_logits(1, rows=1)
    scores = row[0] / 0.7 + gumbel_noise(torch.tensor([9]), torch.tensor([len(PROMPT) - 1]), 8)[0]
    for token in range(8):
        margin = margins(SamplingRule(seed=9, temperature=0.7), row, [token])[0]
        assert margin == pytest.approx(float(scores.max() - scores[token]) * 0.7 / 2, abs=1e-5)


def test_the_margin_of_a_greedy_request_is_half_the_gap_of_the_logits() -> None:
    found = margins(SamplingRule(temperature=0.0), torch.tensor([[1.0, 4.0, 3.5]]), [2])
    assert found.tolist() == [pytest.approx(0.25)]


def test_a_token_beyond_top_k_is_half_its_distance_away() -> None:
    rule = SamplingRule(temperature=0.01, seed=1, top_k=1)
    found = margins(rule, torch.tensor([[1.0, 4.0, 3.0]]), [0])
    assert found.tolist() == [pytest.approx(1.5, abs=0.15)]


def test_a_token_beyond_min_p_is_half_its_distance_away() -> None:
    row = torch.tensor([[0.0, 10.0]])
    token_wins = _seed_with_noise_gap(11)
    found = margins(SamplingRule(seed=token_wins, min_p=math.exp(-6)), row, [0])
    assert found.tolist() == [pytest.approx(2.0, abs=1e-3)]


def _seed_with_noise_gap(gap: float) -> int:
    """The first seed whose noise favours token 0 over token 1 by `gap` at the first output."""
    seeds = torch.arange(400_000)
    noise = gumbel_noise(seeds, torch.full_like(seeds, len(PROMPT) - 1), 2)
    return int((noise[:, 0] - noise[:, 1] > gap).nonzero()[0])


def test_a_token_beyond_top_p_needs_the_tokens_above_to_lose_their_share() -> None:
    """e^x / (e^x + 1) = 0.9 for x = ln 9, so a distance of 4 has to shrink by 4 − ln 9."""
    row = torch.tensor([[0.0, 4.0]])
    token_wins = _seed_with_noise_gap(5)
    found = margins(SamplingRule(seed=token_wins, top_p=0.9), row, [0])
    assert found.tolist() == [pytest.approx((4 - math.log(9)) / 2, abs=1e-3)]


@pytest.mark.parametrize("name", ["greedy", "plain", "top-k", "min-p", "repetition", "bias"])
@given(seed=st.integers(0, 1 << 20))
@settings(max_examples=20, deadline=None)
def test_a_larger_logit_never_makes_a_tokens_margin_larger(name: str, seed: int) -> None:
    logits, token = some_logits(seed, rows=1), seed % 8
    lifts = torch.zeros(5, 8)
    lifts[:, token] = torch.tensor([0.0, 0.2, 0.5, 1.0, 3.0])
    found = [float(margins(RULES[name], logits + lift, [token])[0]) for lift in lifts]
    assert all(later <= earlier + 1e-3 for earlier, later in itertools.pairwise(found))


@pytest.mark.parametrize("block", [1, 3, 7])
def test_margins_do_not_depend_on_how_the_logits_are_cut_into_blocks(block: int) -> None:
    logits = some_logits(5, rows=20)
    rule = replace(RULES["counts"], repetition_penalty=1.2, min_tokens=9, bad_words=((4,), (6, 2)))
    output = draw_all(rule, some_logits(6, rows=20), PROMPT)
    assert torch.equal(margins(rule, logits, output, block=block), margins(rule, logits, output))


def test_rows_that_wait_for_the_search_are_bounded_and_none_is_lost() -> None:
    logits = some_logits(7, rows=300)
    output = draw_all(replace(RULES["top-p"], seed=4), logits, PROMPT)
    found = margins(RULES["top-p"], logits, output)
    assert found.count_nonzero() > 100
    assert found[-20:].tolist() == pytest.approx(
        margins(RULES["top-p"], logits, output, block=1)[-20:].tolist(), abs=1e-4
    )


def test_every_choice_has_noise_of_its_own() -> None:
    rule, logits = SamplingRule(seed=3, n=2), some_logits(2, rows=30)
    second = draw_all(rule, logits, PROMPT, choice=1)
    assert margins(rule, logits, second, choice=1).max() < 1e-4
    assert margins(rule, logits, second, choice=3).max() < 1e-4, "a second prompt's second choice"
    assert margins(rule, logits, second, choice=0).mean() > 0.1


HONEST = 0.03
"""Logits' numerical noise in the controls below, of the order of bfloat16's."""


def long_output(rule: SamplingRule, noise: float = HONEST) -> tuple[Tensor, list[int]]:
    logits = some_logits(11, rows=400, vocabulary_size=50, spread=3.0)
    change = torch.randn(logits.shape, generator=torch.Generator().manual_seed(12))
    return logits, draw_all(rule, logits + noise * change, PROMPT)


def test_honest_noise_gives_margins_of_its_own_order() -> None:
    logits, output = long_output(RULES["top-p"])
    found = margins(RULES["top-p"], logits, output)
    assert 0 < found.max() < 4 * HONEST
    assert (found > 0).float().mean() < 0.1


CHEATS = {
    "another seed": replace(RULES["top-p"], seed=4),
    "warmer": replace(RULES["top-p"], temperature=1.3),
    "cooler": replace(RULES["top-p"], temperature=1.1),
    "top-p ignored": replace(RULES["top-p"], top_p=1.0),
    "greedy": SamplingRule(temperature=0.0),
}


@pytest.mark.parametrize("cheat", CHEATS.values(), ids=CHEATS)
def test_another_way_of_sampling_has_larger_margins_than_noise(cheat: SamplingRule) -> None:
    honest = margins(RULES["top-p"], *long_output(RULES["top-p"]))
    cheating = margins(RULES["top-p"], *long_output(cheat))
    assert cheating.sum() > 2 * honest.sum()
    assert cheating.max() > 2 * honest.max()


def test_another_model_has_larger_margins_than_noise() -> None:
    cheating = margins(RULES["top-p"], *long_output(RULES["top-p"], noise=1.0))
    assert cheating.mean() > 10 * margins(RULES["top-p"], *long_output(RULES["top-p"])).mean()


def test_a_changed_token_stands_out() -> None:
    logits, output = long_output(RULES["plain"])
    worst = logits[200].argmin()
    found = margins(RULES["plain"], logits, [*output[:200], int(worst), *output[201:]])
    assert found.argmax() == 200
    assert found[200] > 1


@pytest.mark.parametrize(
    ("rule", "token"),
    [
        (RULES["allowed"], 2),
        (RULES["minimum"], EOS),
        (RULES["bad words"], 4),
        (RULES["plain"], 8),
        (RULES["plain"], -1),
    ],
)
def test_a_token_that_cannot_be_drawn_has_the_largest_margin(rule: SamplingRule, token: int) -> None:
    assert margins(rule, some_logits(1, rows=1), [token]).tolist() == [MARGIN_CAP]


def test_where_a_request_masks_every_token_nobody_is_to_blame() -> None:
    rule = SamplingRule(seed=1, allowed_token_ids=(EOS,), min_tokens=1, held_back_token_ids=frozenset({EOS}))
    assert margins(rule, some_logits(1, rows=2), [5, EOS]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("rule", [RULES["plain"], RULES["greedy"], RULES["top-p"]])
def test_margins_are_never_above_the_cap(rule: SamplingRule) -> None:
    assert margins(rule, torch.tensor([[1000.0, -1000.0, 0.0]]), [1]).tolist() == [MARGIN_CAP]


def test_logits_that_are_not_numbers_are_the_references_fault() -> None:
    logits = some_logits(1)
    logits[3, 2] = float("nan")
    with pytest.raises(ModelError, match="position 3"):
        margins(RULES["plain"], logits, [1] * 6)


def test_margins_of_unread_logits_are_refused() -> None:
    reader = OutputTokens(RULES["plain"], PROMPT, [1, 2, 3])
    reader.read(reader.first_position, some_logits(1, rows=2))
    with pytest.raises(ValueError, match="not all logits"):
        reader.margins()


def test_wanted_positions_are_those_that_the_tokens_were_sampled_from() -> None:
    reader = OutputTokens(RULES["plain"], PROMPT, [1, 2, 3])
    assert (reader.first_position, reader.last_position) == (3, 5)
