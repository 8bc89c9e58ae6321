"""The error of an income holds although rates average twelve epochs; one by single epochs does not."""

import math
import random

import pytest

from bench.incentives.batches import SHORTEST_BATCH, batch_error, batches_of, certain_errors

RUNS = 4000
AVERAGED = 12


def lucky_runs(epochs: int) -> list[list[float]]:
    """Incomes of rows that earn 1: each epoch's luck is the average of that of twelve."""
    chance = random.Random(5)
    runs = []
    for _ in range(RUNS):
        luck = [chance.gauss(0.0, 0.02) for _ in range(epochs + AVERAGED - 1)]
        runs.append([1 + sum(luck[at : at + AVERAGED]) / AVERAGED for at in range(epochs)])
    return runs


def seems_to_pay(run: list[float]) -> bool:
    error = batch_error(run, [1.0] * len(run))
    assert error is not None
    return sum(run) / len(run) - certain_errors(batches_of(len(run))) * error > 1


def seems_to_pay_by_epochs(run: list[float]) -> bool:
    income = sum(run) / len(run)
    error = math.sqrt(sum((one - income) ** 2 for one in run)) / len(run)
    return income - 3 * error > 1


@pytest.mark.parametrize("epochs", [24, 45, 96])
def test_luck_that_goes_on_for_twelve_epochs_seldom_seems_to_pay(epochs: int) -> None:
    runs = lucky_runs(epochs)
    assert sum(map(seems_to_pay, runs)) <= RUNS / 200
    assert sum(map(seems_to_pay_by_epochs, runs)) > RUNS / 10


def test_an_income_well_above_luck_pays() -> None:
    paying = [[one + 0.2 for one in run] for run in lucky_runs(45)]
    assert sum(map(seems_to_pay, paying)) > 0.9 * RUNS


def test_the_error_is_about_as_large_as_incomes_of_runs_are_apart() -> None:
    runs = lucky_runs(96)
    incomes = [sum(run) / len(run) for run in runs]
    spread = math.sqrt(sum((one - 1) ** 2 for one in incomes) / RUNS)
    errors = [batch_error(run, [1.0] * len(run)) or 0.0 for run in runs]
    assert math.sqrt(sum(one * one for one in errors) / RUNS) == pytest.approx(spread, rel=0.15)


def test_a_run_of_fewer_than_two_batches_has_no_error() -> None:
    epochs = 2 * SHORTEST_BATCH - 1
    assert batch_error([1.0, 2.0] * epochs, [1.0, 1.0] * epochs) is not None
    assert batch_error([1.0] * epochs, [1.0] * epochs) is None


def test_two_batches_have_the_error_that_a_hand_computes() -> None:
    own = [1.1] * 12 + [0.9] * 12
    assert batch_error(own, [1.0] * 24) == pytest.approx(0.1)


@pytest.mark.parametrize(("batches", "errors"), [(2, 235.80), (3, 19.207), (4, 9.219), (6, 5.507)])
def test_few_batches_take_as_many_errors_as_students_t(batches: int, errors: float) -> None:
    assert certain_errors(batches) == pytest.approx(errors, rel=1e-3)


def test_many_batches_take_three_errors() -> None:
    assert certain_errors(100_000) == pytest.approx(3.0, rel=1e-3)
