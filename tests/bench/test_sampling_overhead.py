"""The benchmark compares like with like: the same logits, really seeded requests, whole draws."""

import pytest
import torch
from torch import Tensor

from bench.sampling_overhead import SEED, Case, Cost, alternate, cost_of, row, stock_and_ours
from shared.sampling_noise import gumbel_noise

pytestmark = pytest.mark.vllm

SMALL = Case(vocabulary=700, batch=3, top_p=None)


def expected(logits: Tensor) -> list[int]:
    rows = len(logits)
    noise = gumbel_noise(torch.arange(SEED, SEED + rows), torch.arange(99, 99 + rows), logits.shape[1])
    return [int(token) for token in (logits + noise).argmax(dim=1)]


def test_ours_is_the_draw_of_seeded_requests() -> None:
    logits = SMALL.logits()
    _, ours = stock_and_ours(SMALL)
    for _ in range(2):
        tokens, _ = ours(logits.clone())
        assert tokens.tolist() == expected(logits)


def test_vllms_own_draw_is_the_seeded_one_too() -> None:
    logits = torch.zeros(SMALL.batch, SMALL.vocabulary)
    stock, again = stock_and_ours(SMALL)[0], stock_and_ours(SMALL)[0]
    first, second = (sample(logits.clone())[0].tolist() for sample in (stock, again))
    assert first == second
    assert stock(logits.clone())[0].tolist() != first


@pytest.mark.parametrize("number", [0, 1])
def test_both_apply_top_p(number: int) -> None:
    sample = stock_and_ours(Case(vocabulary=700, batch=3, top_p=1e-6))[number]
    logits = SMALL.logits()
    assert sample(logits.clone())[0].tolist() == logits.argmax(dim=1).tolist()


def test_a_cost_leaves_the_logits_as_they_were() -> None:
    logits = SMALL.logits()
    before = logits.clone()
    cost_of(lambda given: given.fill_(0), logits)
    assert torch.equal(logits, before)


def test_every_round_gives_a_pair_and_the_table_their_ratio() -> None:
    assert len(list(alternate(SMALL, 3))) == 3
    line = row(SMALL, [(Cost(1.0, 2.0), Cost(3.0, 5.0))] * 4)
    assert line.split() == ["700", "3", "off", "1.00", "3.00", "2.00", "5.00", "2.50", "(2.50", "to", "2.50)"]
